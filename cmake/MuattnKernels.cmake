# Turns cmake/targets.cmake and cmake/kernels.cmake into compiled kernels, into the tables that runtime/src/registry.cpp
# includes, and into generated/kernels.json and gpu_kernels.json, the same for tools that look at the compiled code.
# Afterwards MUATTN_KERNEL_LIBRARIES names the static libraries.
include(${CMAKE_CURRENT_LIST_DIR}/targets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/kernels.cmake)

set(MUATTN_HALIDE_FEATURES user_context)
set(MUATTN_GENERATED_DIR "${CMAKE_CURRENT_BINARY_DIR}/generated")
set(MUATTN_TUNED_DIR "${PROJECT_SOURCE_DIR}/schedules/tuned" CACHE PATH "Folder of the tuned files")
file(GLOB tuned_files CONFIGURE_DEPENDS "${MUATTN_TUNED_DIR}/*.json")  # a new one asks for a configure as well

option(MUATTN_GPU "GPU kernels: CUDA, Vulkan and OpenCL" ON)

function(muattn_backend name target condition)
  # A sanitizer goes into the target: given as FEATURES of a kernel, Halide would not give it to the runtime.
  string(JOIN "-" target ${target} ${MUATTN_KERNEL_FEATURES})
  set_property(GLOBAL APPEND PROPERTY MUATTN_BACKENDS ${name})
  set_property(GLOBAL PROPERTY MUATTN_TARGET_${name} ${target})
  set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_BACKEND_TABLE "MUATTN_BACKEND(${name}, ${condition})\n")
endfunction()

# After the CPU backends, of which the last gives the host's part of the target.
function(muattn_gpu_backend name feature)
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  list(GET backends -1 host)
  get_property(host_target GLOBAL PROPERTY MUATTN_TARGET_${host})
  set_property(GLOBAL APPEND PROPERTY MUATTN_GPU_BACKENDS ${name})
  set_property(GLOBAL PROPERTY MUATTN_TARGET_${name} ${host_target}-${feature})
  set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_GPU_BACKEND_TABLE "MUATTN_GPU_BACKEND(${name})\n")
endfunction()

function(muattn_generator generator)
  set_property(GLOBAL APPEND PROPERTY MUATTN_GENERATORS ${generator})
  set_property(GLOBAL PROPERTY MUATTN_PARAMETERS_${generator} ${ARGN})
endfunction()

# The numbers of ${MUATTN_TUNED_DIR}/<generator>.<backend>.json: name=value pairs for the generator and plain values for the
# registry, 0 where the file, or its entry, is missing.
function(muattn_tuned_parameters generator backend out_pairs out_values)
  set(file "${MUATTN_TUNED_DIR}/${generator}.${backend}.json")
  set(json "{}")
  if(EXISTS "${file}")
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${file}")
    file(READ "${file}" json)
    string(JSON kind ERROR_VARIABLE bad TYPE "${json}" parameters)
    if(bad OR NOT kind STREQUAL "OBJECT")
      message(FATAL_ERROR "${file}: not JSON with an object \"parameters\": ${bad}")
    endif()
  endif()
  get_property(names GLOBAL PROPERTY MUATTN_PARAMETERS_${generator})
  set(pairs "")
  set(values "")
  foreach(name IN LISTS names)
    string(JSON value ERROR_VARIABLE missing GET "${json}" parameters ${name})
    if(missing)
      set(value 0)
    endif()
    list(APPEND pairs ${name}=${value})
    list(APPEND values ${value})
  endforeach()
  set(${out_pairs} "${pairs}" PARENT_SCOPE)
  set(${out_values} "${values}" PARENT_SCOPE)
endfunction()

# A kernel for one backend.
function(muattn_add_kernel symbol backend generator)
  get_property(target GLOBAL PROPERTY MUATTN_TARGET_${backend})
  set(stmt "")
  if(backend STREQUAL "cuda")
    set(stmt CONCEPTUAL_STMT stmt_file)  # for bench/gpu_report: threads and shared memory
  endif()
  add_halide_library(${symbol} FROM muattn_generators
    GENERATOR ${generator}
    TARGETS ${target}
    FEATURES ${MUATTN_HALIDE_FEATURES}
    USE_RUNTIME muattn_halide_runtime
    ${stmt}
    PARAMS machine=${backend} ${ARGN})
  set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_LIBRARIES ${symbol})
endfunction()

# The line of generated/kernels.json, without its braces.
function(muattn_describe symbol backend operation direction dtype kind generator arguments out)
  get_property(target GLOBAL PROPERTY MUATTN_TARGET_${backend})
  string(CONCAT description "\"symbol\": \"${symbol}\", \"operation\": \"${operation}\", \"direction\": \"${direction}\", "
    "\"dtype\": \"${dtype}\", \"kind\": \"${kind}\", \"backend\": \"${backend}\", \"generator\": \"${generator}\", "
    "\"arguments\": \"${arguments}\", \"target\": \"${target}\", \"library\": \"$<TARGET_FILE:${symbol}>\"")
  set(${out} "${description}" PARENT_SCOPE)
endfunction()

function(muattn_kernel operation direction dtype kind generator)
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  foreach(backend IN LISTS backends)
    muattn_tuned_parameters(${generator} ${backend} pairs values)
    set(symbol kernel_${operation}_${direction}_${dtype}_${kind}_${backend})
    muattn_add_kernel(${symbol} ${backend} ${generator} ${pairs} ${ARGN})
    list(JOIN values ", " values)
    set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_KERNEL_TABLE
      "MUATTN_KERNEL(${operation}, ${direction}, ${dtype}, ${kind}, ${backend}, ${symbol}, ${values})\n")
    list(JOIN ARGN " " arguments)
    muattn_describe(${symbol} ${backend} ${operation} ${direction} ${dtype} ${kind} ${generator} "${arguments}" description)
    set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_DESCRIPTIONS "{${description}}")
  endforeach()
endfunction()

# head_dim 0: any.
function(muattn_gpu_kernel operation direction dtype kind head_dim generator)
  get_property(backends GLOBAL PROPERTY MUATTN_GPU_BACKENDS)
  foreach(backend IN LISTS backends)
    muattn_tuned_parameters(${generator} ${backend} pairs values)
    set(name ${kind})
    set(size "")
    if(head_dim)
      set(name ${kind}_d${head_dim})
      set(size head_dim=${head_dim})
    endif()
    set(symbol kernel_${operation}_${direction}_${dtype}_${name}_${backend})
    muattn_add_kernel(${symbol} ${backend} ${generator} ${size} ${pairs} ${ARGN})
    set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_GPU_KERNEL_TABLE
      "MUATTN_GPU_KERNEL(${operation}, ${direction}, ${dtype}, ${kind}, ${head_dim}, ${name}, ${backend}, ${symbol})\n")
    list(JOIN ARGN " " arguments)
    muattn_describe(${symbol} ${backend} ${operation} ${direction} ${dtype} ${kind} ${generator} "${arguments}" description)
    set_property(GLOBAL APPEND PROPERTY MUATTN_GPU_KERNEL_DESCRIPTIONS "{${description}, \"head_dim\": ${head_dim}}")
  endforeach()
endfunction()

muattn_targets()
get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
list(GET backends -1 baseline)
get_property(runtime_target GLOBAL PROPERTY MUATTN_TARGET_${baseline})
if(MUATTN_GPU)
  muattn_gpu_targets()
  get_property(gpu_backends GLOBAL PROPERTY MUATTN_GPU_BACKENDS)
  list(JOIN gpu_backends "-" gpu_features)
  string(APPEND runtime_target "-${gpu_features}")
endif()

muattn_generators()
get_property(generators GLOBAL PROPERTY MUATTN_GENERATORS)
list(TRANSFORM generators REPLACE "(.+)" "generators/\\1.cpp" OUTPUT_VARIABLE generator_sources)
add_halide_generator(muattn_generators SOURCES ${generator_sources})
if(TARGET muattn_generators)  # not where they come from another build: -Dmuattn-halide_generators_ROOT=FOLDER
  target_include_directories(muattn_generators PRIVATE "${PROJECT_SOURCE_DIR}")
  # Not muattn_warnings: templates of Halide.h would trip -Wextra.
  target_compile_options(muattn_generators PRIVATE -Wall $<$<BOOL:${MUATTN_WERROR}>:-Werror>)
endif()
add_halide_runtime(muattn_halide_runtime TARGETS ${runtime_target})
muattn_kernels()
if(MUATTN_GPU)
  muattn_gpu_kernels()
endif()

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
