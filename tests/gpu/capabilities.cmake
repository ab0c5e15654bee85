# The claim of cmake/targets.cmake that one PTX serves every CUDA capability.
get_property(host_target GLOBAL PROPERTY MUATTN_TARGET_sse41)
add_test(NAME gpu_capabilities COMMAND "${Python_EXECUTABLE}" -m pytest -q -p no:cacheprovider
  "${CMAKE_CURRENT_SOURCE_DIR}/test_capabilities.py")
set_tests_properties(gpu_capabilities PROPERTIES TIMEOUT 600 LABELS gpu ENVIRONMENT
  "MUATTN_GENERATORS=$<TARGET_FILE:muattn_generators>;MUATTN_HOST_TARGET=${host_target};PYTHONPATH=${PROJECT_SOURCE_DIR}/bench/gpu_report;PYTHONDONTWRITEBYTECODE=1")
