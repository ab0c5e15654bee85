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
  set_property(GLOBAL PROPERTY MUATTN_TYPE_${name} ${ARGN})  # of add_halide_library; none: its default
  set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_BACKEND_TABLE "MUATTN_BACKEND(${name}, ${condition})\n")
endfunction()

function(muattn_generator generator)
  set_property(GLOBAL APPEND PROPERTY MUATTN_GENERATORS ${generator})
  set_property(GLOBAL PROPERTY MUATTN_PARAMETERS_${generator} ${ARGN})
endfunction()

# The numbers of ${MUATTN_TUNED_DIR}/<generator>.<backend>.json: name=value pairs for the generator and plain values for the
# registry, 0 where the file, or its entry, is missing; and the file's name, if there is one.
function(muattn_tuned_parameters generator backend out_pairs out_values out_file)
  set(file "${MUATTN_TUNED_DIR}/${generator}.${backend}.json")
  set(json "{}")
  set(${out_file} "" PARENT_SCOPE)
  if(EXISTS "${file}")
    set(${out_file} "${generator}.${backend}.json" PARENT_SCOPE)
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

# A smaller library: each list names what it keeps of a column of cmake/kernels.cmake; an empty one keeps all.
set(MUATTN_OPERATIONS "" CACHE STRING "Operations to build, e.g. spatial_attention;merge; empty: all")
set(MUATTN_DTYPES "" CACHE STRING "Element types to build; empty: all")
set(MUATTN_KINDS "" CACHE STRING "Kinds of kernels to build, e.g. plain;lse; empty: all")
set(MUATTN_HEAD_DIM 0 CACHE STRING "The only head dimension of spatial attention's kernels; 0: any")

function(muattn_kernel_is_wanted operation dtype kind out)
  set(wanted TRUE)
  foreach(column IN ITEMS operation dtype kind)
    string(TOUPPER MUATTN_${column}s list)
    set_property(GLOBAL APPEND PROPERTY ${list}_KNOWN ${${column}})
    if(${list} AND NOT ${column} IN_LIST ${list})
      set(wanted FALSE)
    endif()
  endforeach()
  set(${out} ${wanted} PARENT_SCOPE)
endfunction()

function(muattn_check_wanted)
  foreach(list IN ITEMS MUATTN_OPERATIONS MUATTN_DTYPES MUATTN_KINDS)
    get_property(known GLOBAL PROPERTY ${list}_KNOWN)
    list(REMOVE_DUPLICATES known)
    foreach(name IN LISTS ${list})
      if(NOT name IN_LIST known)
        list(JOIN known ", " known)
        message(FATAL_ERROR "${list}: unknown '${name}'; there are ${known}")
      endif()
    endforeach()
  endforeach()
  get_property(libraries GLOBAL PROPERTY MUATTN_KERNEL_LIBRARIES)
  if(NOT libraries)
    message(FATAL_ERROR "MUATTN_OPERATIONS, MUATTN_DTYPES and MUATTN_KINDS together leave no kernel")
  endif()
endfunction()

function(muattn_kernel operation direction dtype kind generator)
  muattn_kernel_is_wanted(${operation} ${dtype} ${kind} wanted)
  if(NOT wanted)
    return()
  endif()
  if(MUATTN_HEAD_DIM AND operation STREQUAL "spatial_attention")
    list(APPEND ARGN head_dim=${MUATTN_HEAD_DIM})
  endif()
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  foreach(backend IN LISTS backends)
    get_property(target GLOBAL PROPERTY MUATTN_TARGET_${backend})
    muattn_tuned_parameters(${generator} ${backend} pairs values tuned)
    set(symbol kernel_${operation}_${direction}_${dtype}_${kind}_${backend})
    get_property(type GLOBAL PROPERTY MUATTN_TYPE_${backend})
    add_halide_library(${symbol} FROM muattn_generators
      GENERATOR ${generator}
      ${type}
      TARGETS ${target}
      FEATURES ${MUATTN_HALIDE_FEATURES}
      USE_RUNTIME muattn_halide_runtime
      PARAMS machine=${backend} ${pairs} ${ARGN})
    if(type)
      target_compile_options(${symbol} PRIVATE -fno-exceptions -fno-rtti -fno-threadsafe-statics -ffp-contract=fast -fno-math-errno)
    endif()
    set_property(GLOBAL APPEND PROPERTY MUATTN_KERNEL_LIBRARIES ${symbol})
    list(JOIN values ", " values)
    list(JOIN ARGN " " arguments)
    set_property(GLOBAL APPEND_STRING PROPERTY MUATTN_KERNEL_TABLE
      "MUATTN_KERNEL(${operation}, ${direction}, ${dtype}, ${kind}, ${backend}, ${symbol}, ${values})\n")
    string(CONCAT description "{\"symbol\": \"${symbol}\", \"operation\": \"${operation}\", \"direction\": \"${direction}\", "
      "\"dtype\": \"${dtype}\", \"kind\": \"${kind}\", \"backend\": \"${backend}\", \"generator\": \"${generator}\", "
      "\"arguments\": \"${arguments}\", \"target\": \"${target}\", \"tuned\": \"${tuned}\", \"library\": \"$<TARGET_FILE:${symbol}>\"}")
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
get_property(baseline_type GLOBAL PROPERTY MUATTN_TYPE_${baseline})
if(baseline_type)
  add_library(muattn_halide_runtime STATIC "${PROJECT_SOURCE_DIR}/runtime/portable/halide_runtime.cpp")
  target_compile_options(muattn_halide_runtime PRIVATE -fno-exceptions -fno-rtti)
  target_link_libraries(muattn_halide_runtime PRIVATE Halide::Runtime)
else()
  add_halide_runtime(muattn_halide_runtime TARGETS ${baseline_target})
endif()
muattn_kernels()
muattn_check_wanted()

get_property(MUATTN_KERNEL_LIBRARIES GLOBAL PROPERTY MUATTN_KERNEL_LIBRARIES)
get_property(kernel_table GLOBAL PROPERTY MUATTN_KERNEL_TABLE)
get_property(descriptions GLOBAL PROPERTY MUATTN_KERNEL_DESCRIPTIONS)
list(JOIN descriptions ",\n" descriptions)
get_property(backend_table GLOBAL PROPERTY MUATTN_BACKEND_TABLE)
file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/kernel_table.inc" CONTENT "${kernel_table}" @ONLY)
file(CONFIGURE OUTPUT "${MUATTN_GENERATED_DIR}/backend_table.inc" CONTENT "${backend_table}" @ONLY)
file(GENERATE OUTPUT "${MUATTN_GENERATED_DIR}/kernels.json" CONTENT "[\n${descriptions}\n]\n")
