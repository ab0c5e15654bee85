# Turns cmake/targets.cmake and cmake/kernels.cmake into compiled kernels, into the two tables that
# runtime/src/registry.cpp includes, and into generated/kernels.json, the same for tools that look at the compiled code.
# Afterwards MUATTN_KERNEL_LIBRARIES names the static libraries.
include(${CMAKE_CURRENT_LIST_DIR}/targets.cmake)
include(${CMAKE_CURRENT_LIST_DIR}/kernels.cmake)

set(MUATTN_HALIDE_FEATURES user_context)
set(MUATTN_GENERATED_DIR "${CMAKE_CURRENT_BINARY_DIR}/generated")
set(MUATTN_TUNED_DIR "${PROJECT_SOURCE_DIR}/schedules/tuned" CACHE PATH "Folder of the tuned files")
file(GLOB tuned_files CONFIGURE_DEPENDS "${MUATTN_TUNED_DIR}/*.json")  # a new one asks for a configure as well

function(muattn_backend name target condition)
  # A sanitizer goes into the target: given as FEATURES of a kernel, Halide would not give it to the runtime.
  string(JOIN "-" target ${target} ${MUATTN_KERNEL_FEATURES})
  set_property(GLOBAL APPEND PROPERTY MUATTN_BACKENDS ${name})
  set_property(GLOBAL PROPERTY MUATTN_TARGET_${name} ${target})
  set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_BACKEND_TABLE "MUATTN_BACKEND(${name}, ${condition})\n")
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

function(muattn_kernel operation direction dtype kind generator)
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  foreach(backend IN LISTS backends)
    get_property(target GLOBAL PROPERTY MUATTN_TARGET_${backend})
    muattn_tuned_parameters(${generator} ${backend} pairs values)
    set(symbol kernel_${operation}_${direction}_${dtype}_${kind}_${backend})
    add_halide_library(${symbol} FROM muattn_generators
      GENERATOR ${generator}
      TARGETS ${target}
      FEATURES ${MUATTN_HALIDE_FEATURES}
      USE_RUNTIME muattn_halide_runtime
      PARAMS machine=${backend} ${pairs} ${ARGN})
    set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_LIBRARIES ${symbol})
    list(JOIN values ", " values)
    list(JOIN ARGN " " arguments)
    set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_KERNEL_TABLE
      "MUATTN_KERNEL(${operation}, ${direction}, ${dtype}, ${kind}, ${backend}, ${symbol}, ${values})\n")
    string(CONCAT description "{\"symbol\": \"${symbol}\", \"operation\": \"${operation}\", \"direction\": \"${direction}\", "
      "\"dtype\": \"${dtype}\", \"kind\": \"${kind}\", \"backend\": \"${backend}\", \"generator\": \"${generator}\", "
      "\"arguments\": \"${arguments}\", \"target\": \"${target}\", \"library\": \"$<TARGET_FILE:${symbol}>\"}")
    set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_DESCRIPTIONS "${description}")
  endforeach()
endfunction()

muattn_targets()
get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
list(GET backends -1 baseline)
get_property(baseline_target GLOBAL PROPERTY MUATTN_TARGET_${baseline})

muattn_generators()
get_property(generators GLOBAL PROPERTY MUATTN_GENERATORS)
list(TRANSFORM generators REPLACE "(.+)" "generators/\\1.cpp" OUTPUT_VARIABLE generator_sources)
add_halide_generator(muattn_generators SOURCES ${generator_sources})
if(TARGET muattn_generators)  # not where they come from another build: -Dmuattn-halide_generators_ROOT=FOLDER
  target_include_directories(muattn_generators PRIVATE "${PROJECT_SOURCE_DIR}")
  # Not muattn_warnings: templates of Halide.h would trip -Wextra.
  target_compile_options(muattn_generators PRIVATE -Wall $<$<BOOL:${MUATTN_WERROR}>:-Werror>)
endif()
add_halide_runtime(muattn_halide_runtime TARGETS ${baseline_target})
muattn_kernels()

get_property(MUATTN_KERNEL_LIBRARIES GLOBAL PROPERTY MUATTN_KERNEL_LIBRARIES)
get_property(kernel_table GLOBAL PROPERTY MUATTN_KERNEL_TABLE)
get_property(descriptions GLOBAL PROPERTY MUATTN_KERNEL_DESCRIPTIONS)
list(JOIN descriptions ",\n" descriptions)
get_property(backend_table GLOBAL PROPERTY MUATTN_BACKEND_TABLE)
file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/kernel_table.inc" CONTENT "${kernel_table}" @ONLY)
file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/backend_table.inc" CONTENT "${backend_table}" @ONLY)
file(GENERATE OUTPUT "${MUATTN_GENERATED_DIR}/kernels.json" CONTENT "[\n${descriptions}\n]\n")
