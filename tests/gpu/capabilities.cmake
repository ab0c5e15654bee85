# The claim of tables/machines.json that one PTX serves every CUDA capability.
if(NOT TARGET muattn_generators)  # from another build, which has this test
  return()
endif()
get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
list(GET backends -1 host)
get_property(host_target GLOBAL PROPERTY MUATTN_TARGET_${host})
add_test(NAME gpu_capabilities COMMAND "${Python_EXECUTABLE}" -m pytest -q -p no:cacheprovider
  "${CMAKE_CURRENT_SOURCE_DIR}/test_capabilities.py")
set_tests_properties(gpu_capabilities PROPERTIES TIMEOUT ${muattn_timeout} LABELS gpu ENVIRONMENT
  "MUATTN_GENERATORS=$<TARGET_FILE:muattn_generators>;MUATTN_HOST_TARGET=${host_target};PYTHONDONTWRITEBYTECODE=1")
