# The bars that the CUDA kernels are held to, without a device.
add_test(NAME gpu_report COMMAND "${Python_EXECUTABLE}" -m muattn_tools.gpu_report.cuda_report --kernels "${MUATTN_GENERATED_DIR}/gpu_kernels.json")
set_tests_properties(gpu_report PROPERTIES COST 200 TIMEOUT ${muattn_timeout} LABELS report
  ENVIRONMENT "PYTHONPATH=${PROJECT_SOURCE_DIR}/tools;PYTHONDONTWRITEBYTECODE=1")
