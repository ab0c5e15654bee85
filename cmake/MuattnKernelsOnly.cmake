# For a target that nothing here compiles C++ for: installs the kernels, and the runtime as sources with a CMakeLists.txt of
# their own, which a compiler of the target makes into the library.
if(NOT MUATTN_TARGET)
  message(FATAL_ERROR "MUATTN_KERNELS_ONLY: say MUATTN_TARGET as well")
endif()
set(libraries "")
foreach(library IN LISTS MUATTN_KERNEL_LIBRARIES ITEMS muattn_halide_runtime)
  list(APPEND libraries $<TARGET_FILE:${library}>)
endforeach()
add_custom_target(muattn_kernels ALL DEPENDS ${MUATTN_KERNEL_LIBRARIES} muattn_halide_runtime)
add_dependencies(muattn_kernels ${MUATTN_KERNEL_LIBRARIES} muattn_halide_runtime)
install(FILES ${libraries} DESTINATION lib)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/runtime/include" "${PROJECT_SOURCE_DIR}/runtime/src" DESTINATION runtime)
install(DIRECTORY "${PROJECT_SOURCE_DIR}/schedules/" DESTINATION schedules FILES_MATCHING PATTERN "*_numbers.h" PATTERN "common/*.h"
  PATTERN tuned EXCLUDE)
find_file(halide_runtime_header HalideRuntime.h PATHS "${HalideHelpers_DIR}/../../../include" NO_DEFAULT_PATH REQUIRED)
install(FILES "${MUATTN_GENERATED_DIR}/machines.inc" "${MUATTN_GENERATED_DIR}/kernel_table.inc" "${MUATTN_GENERATED_DIR}/backend_table.inc"
  "${MUATTN_GENERATED_DIR}/gpu_kernel_table.inc" "${MUATTN_GENERATED_DIR}/gpu_backend_table.inc" "${MUATTN_GENERATED_DIR}/kernels_built.inc" "${halide_runtime_header}"
  DESTINATION generated)
configure_file("${PROJECT_SOURCE_DIR}/cmake/package/CMakeLists.txt.in" package/CMakeLists.txt @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/package/CMakeLists.txt" "${PROJECT_SOURCE_DIR}/cmake/muattn.pc.in"
  "${PROJECT_SOURCE_DIR}/cmake/muattnConfig.cmake.in" DESTINATION .)
