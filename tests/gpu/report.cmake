# The bars that the CUDA kernels are held to, without a device.
set(gpu_report "${PROJECT_SOURCE_DIR}/bench/gpu_report")
add_test(NAME gpu_report COMMAND "${Python_EXECUTABLE}" "${gpu_report}/report.py" --kernels "${MUATTN_GENERATED_DIR}/gpu_kernels.json")
set_tests_properties(gpu_report PROPERTIES COST 200 TIMEOUT ${muattn_timeout} LABELS report WORKING_DIRECTORY "${PROJECT_SOURCE_DIR}"
  ENVIRONMENT "PYTHONPATH=${PROJECT_SOURCE_DIR}/bench;PYTHONDONTWRITEBYTECODE=1")
