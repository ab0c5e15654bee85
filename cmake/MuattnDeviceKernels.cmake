# For a GPU that is no backend of the library: installs the kernels, each as a static library of Halide's host code with its header and as
# the source of its device code, and Halide's runtime for the API.
add_custom_target(muattn_kernels ALL DEPENDS ${MUATTN_KERNEL_LIBRARIES} muattn_halide_runtime)
set(suffix_metal metal)
set(suffix_webgpu wgsl)
set(libraries $<TARGET_FILE:muattn_halide_runtime>)
set(headers "")
foreach(kernel IN LISTS MUATTN_KERNEL_LIBRARIES)
  add_dependencies(muattn_kernels ${kernel})
  list(APPEND libraries $<TARGET_FILE:${kernel}>)
  list(APPEND headers "${CMAKE_CURRENT_BINARY_DIR}/${kernel}.h")
  install(FILES "${CMAKE_CURRENT_BINARY_DIR}/${kernel}.device_code" DESTINATION source
    RENAME ${kernel}.${suffix_${MUATTN_DEVICE}})
endforeach()
add_dependencies(muattn_kernels muattn_halide_runtime)
find_file(halide_runtime_header HalideRuntime.h PATHS "${HalideHelpers_DIR}/../../../include" NO_DEFAULT_PATH REQUIRED)
install(FILES ${libraries} DESTINATION lib)
install(FILES ${headers} "${halide_runtime_header}" DESTINATION include)
