# Turns tables/machines.json and tables/kernels.json into compiled kernels, into the tables that runtime/src/kernels/registry.cpp
# includes, and into generated/kernels.json, gpu_kernels.json and target.json, the same for tools.
# Afterwards MUATTN_KERNEL_LIBRARIES names the static libraries.
set(MUATTN_GENERATED_DIR "${CMAKE_CURRENT_BINARY_DIR}/generated")
include(${CMAKE_CURRENT_LIST_DIR}/MuattnTables.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/MuattnBackends.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/MuattnTuned.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/MuattnRows.cmake)

set(MUATTN_HALIDE_FEATURES user_context)
# A smaller library: each list names what it keeps of tables/kernels.json; an empty one keeps all.
set(MUATTN_OPERATIONS "" CACHE STRING "Operations to build, e.g. spatial_attention;merge; empty: all")
set(MUATTN_DIRECTIONS "" CACHE STRING "Directions to build, e.g. forward; empty: all")
set(MUATTN_DTYPES "" CACHE STRING "Element types to build; empty: all")
set(MUATTN_KERNELS "" CACHE STRING "Kernels to build, e.g. general;general+lse; empty: all")
set(MUATTN_HEAD_DIM 0 CACHE STRING "The only head dimension of spatial attention's kernels; 0: any")

# By default libraries that name GPU APIs have GPU kernels, and whole ones for the machine that builds them.
set(MUATTN_GPU_APIS "" CACHE STRING "GPU APIs to build kernels for, e.g. cuda;opencl; empty: all, where MUATTN_GPU is on")
set(gpu_default OFF)
if(MUATTN_GPU_APIS)
  set(gpu_default ON)
elseif(Halide_CMAKE_TARGET MATCHES "^x86-64-linux" AND NOT CMAKE_CROSSCOMPILING AND NOT MUATTN_SANITIZE AND NOT MUATTN_TARGET
   AND NOT MUATTN_BACKENDS AND NOT MUATTN_OPERATIONS AND NOT MUATTN_DIRECTIONS AND NOT MUATTN_DTYPES AND NOT MUATTN_KERNELS
   AND NOT MUATTN_HEAD_DIM)
  set(gpu_default ON)
endif()
option(MUATTN_GPU "GPU kernels: CUDA, Vulkan and OpenCL" ${gpu_default})
if(MUATTN_GPU_APIS AND NOT MUATTN_GPU)
  message(FATAL_ERROR "MUATTN_GPU_APIS: there are no GPU kernels where MUATTN_GPU is OFF, as it is here")
endif()

function(muattn_check_wanted)
  set(lists MUATTN_OPERATIONS MUATTN_DIRECTIONS MUATTN_DTYPES MUATTN_KERNELS)
  if(MUATTN_GPU)
    list(APPEND lists MUATTN_GPU_APIS)
  endif()
  foreach(list IN LISTS lists)
    muattn_check_names(${list})
  endforeach()
  get_property(libraries GLOBAL PROPERTY MUATTN_KERNEL_LIBRARIES)
  if(NOT libraries)
    message(FATAL_ERROR "MUATTN_OPERATIONS, MUATTN_DIRECTIONS, MUATTN_DTYPES and MUATTN_KERNELS together leave no kernel")
  endif()
endfunction()

# A kernel for one backend.
function(muattn_add_kernel symbol backend generator)
  get_property(target GLOBAL PROPERTY MUATTN_TARGET_${backend})
  get_property(type GLOBAL PROPERTY MUATTN_TYPE_${backend})
  set(runtime USE_RUNTIME muattn_halide_runtime)
  if(type)
    set(runtime "")
  endif()
  set(extra "")
  if(backend STREQUAL "cuda")
    set(extra CONCEPTUAL_STMT file)  # for tools/muattn_tools/gpu_report: threads and shared memory
  elseif(backend STREQUAL MUATTN_DEVICE)
    set(extra DEVICE_CODE file)
  endif()
  add_halide_library(${symbol} FROM muattn_generators
    GENERATOR ${generator}
    ${type}
    TARGETS ${target}
    FEATURES ${MUATTN_HALIDE_FEATURES}
    ${runtime}
    ${extra}
    PARAMS machine=${backend} ${ARGN})
  if(type)
    target_compile_options(${symbol} PRIVATE -fno-exceptions -fno-rtti -fno-threadsafe-statics -ffp-contract=fast -fno-math-errno)
  endif()
  set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_LIBRARIES ${symbol})
endfunction()

muattn_targets()
get_property(MUATTN_DEVICE GLOBAL PROPERTY MUATTN_DEVICE)
if(MUATTN_GPU AND (MUATTN_DEVICE OR MUATTN_KERNELS_ONLY))
  message(FATAL_ERROR "MUATTN_GPU: only a library that is built on the machine itself has kernels for these APIs")
endif()
get_property(baseline GLOBAL PROPERTY MUATTN_BASELINE)
get_property(runtime_target GLOBAL PROPERTY MUATTN_TARGET_${baseline})
if(MUATTN_GPU)
  muattn_gpu_targets()
  get_property(apis GLOBAL PROPERTY MUATTN_GPU_APIS_KNOWN)
  list(JOIN apis "-" gpu_features)
  string(APPEND runtime_target "-${gpu_features}")
endif()

muattn_generators(cpu generators generator_sources)
set_property(GLOBAL PROPERTY MUATTN_GENERATORS ${generators})
if(MUATTN_GPU OR MUATTN_DEVICE OR MUATTN_TESTS)  # some of the tests make kernels for Metal and WebGPU
  muattn_generators(gpu generators sources)
  list(APPEND generator_sources ${sources})
  list(REMOVE_DUPLICATES generator_sources)
endif()
add_halide_generator(muattn_generators SOURCES ${generator_sources})
if(TARGET muattn_generators)  # not where they come from another build: -Dmuattn-halide_generators_ROOT=FOLDER
  target_include_directories(muattn_generators PRIVATE "${PROJECT_SOURCE_DIR}" "${MUATTN_GENERATED_DIR}")
  # Not muattn_warnings: templates of Halide.h would trip -Wextra. Not optimised: half the time to compile, and what takes time when a
  # generator runs is in libHalide.
  target_compile_options(muattn_generators PRIVATE -O0 -Wall $<$<BOOL:${MUATTN_WERROR}>:-Werror>)
endif()
get_property(baseline_type GLOBAL PROPERTY MUATTN_TYPE_${baseline})
if(baseline_type)
  add_library(muattn_halide_runtime STATIC "${PROJECT_SOURCE_DIR}/runtime/portable/halide_runtime.cpp")
  target_compile_options(muattn_halide_runtime PRIVATE -fno-exceptions -fno-rtti)
  target_link_libraries(muattn_halide_runtime PRIVATE Halide::Runtime)
else()
  add_halide_runtime(muattn_halide_runtime TARGETS ${runtime_target})
endif()
if(NOT MUATTN_DEVICE)
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  muattn_entries(cpu "${backends}" FALSE)
endif()
if(MUATTN_GPU OR MUATTN_DEVICE)
  get_property(backends GLOBAL PROPERTY MUATTN_GPU_BACKENDS)
  muattn_entries(gpu "${backends}" TRUE)
endif()
muattn_check_wanted()

get_property(MUATTN_KERNEL_LIBRARIES GLOBAL PROPERTY MUATTN_KERNEL_LIBRARIES)
foreach(table IN ITEMS kernel_table backend_table gpu_kernel_table gpu_backend_table)
  string(TOUPPER "MUATTN_${table}" property)
  get_property(rows GLOBAL PROPERTY ${property})
  file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/${table}.inc" CONTENT "${rows}" @ONLY)
endforeach()
foreach(kernels IN ITEMS kernel gpu_kernel)
  string(TOUPPER "MUATTN_${kernels}_DESCRIPTIONS" property)
  get_property(descriptions GLOBAL PROPERTY ${property})
  list(JOIN descriptions ",\n" descriptions)
  file(GENERATE OUTPUT "${MUATTN_GENERATED_DIR}/${kernels}s.json" CONTENT "[\n${descriptions}\n]\n")
endforeach()

get_property(no_rung GLOBAL PROPERTY MUATTN_NO_RUNG)
get_property(unchecked GLOBAL PROPERTY MUATTN_UNCHECKED)
list(TRANSFORM unchecked REPLACE "(.+)" "\"\\1\"")
list(JOIN unchecked ", " unchecked)
set(rung true)
if(no_rung)
  set(rung false)
endif()
file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/target.json" CONTENT "{\"rung\": ${rung}, \"features_not_checked\": [${unchecked}]}\n" @ONLY)
