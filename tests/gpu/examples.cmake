# The programs of docs/examples. That for CUDA is compiled where NVIDIA's headers are, and run nowhere.
set(examples "${PROJECT_SOURCE_DIR}/docs/examples")
add_executable(muattn_opencl_example "${examples}/opencl_tensors.cpp")
target_link_libraries(muattn_opencl_example PRIVATE muattn::muattn muattn_warnings OpenCL::OpenCL)
add_test(NAME gpu.example.opencl COMMAND muattn_opencl_example)
set_tests_properties(gpu.example.opencl PROPERTIES TIMEOUT ${muattn_timeout} LABELS gpu
  PASS_REGULAR_EXPRESSION "spatial_attention/forward/float32/block.max_d=64/opencl\nhead 0: 1.50, head 1: 5.50\n")
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND)
  add_library(muattn_cuda_example OBJECT "${examples}/cuda_tensors.cpp")
  target_link_libraries(muattn_cuda_example PRIVATE muattn::muattn muattn_warnings)
  target_include_directories(muattn_cuda_example SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
endif()
