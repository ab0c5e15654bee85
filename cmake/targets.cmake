# The CPU backends of this build, best first: name of a machine in schedules/machine.h, its Halide target, and the C++
# condition under which a processor (and its operating system) runs it, evaluated in runtime/src/registry.cpp. One line adds a rung to the ladder.
set(MUATTN_TARGET "" CACHE STRING "Halide target of the kernels. Without features: all backends of its family. Empty: the machine that CMake builds for")

option(MUATTN_EXPERIMENTAL "Also backends whose tests have not been run: sve_256" OFF)

function(muattn_targets)
  set(asked "${MUATTN_TARGET}")
  if(NOT asked)
    set(asked "${Halide_CMAKE_TARGET}")
  endif()
  string(REGEX MATCH "^[a-z0-9_]+-[0-9]+-[a-z_]+" t "${asked}")  # without features
  if(asked MATCHES "-(metal|webgpu)(-|$)")
    muattn_device("${CMAKE_MATCH_1}" ${asked})
    return()
  endif()
  if(t MATCHES "^x86-64-")
    muattn_rung(avx512 ${t}-sse41-avx-f16c-fma-avx2-avx512-avx512_skylake
      [[__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()]])
    muattn_rung(avx2 ${t}-sse41-avx-f16c-fma-avx2
      [[__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()]])
    muattn_rung(sse41 ${t}-sse41 [[__builtin_cpu_supports("sse4.1")]])
  elseif(t STREQUAL "arm-64-linux")
    if(MUATTN_EXPERIMENTAL OR NOT asked STREQUAL t)  # by name or on request: docs/targets.md
      muattn_rung(sve_256 ${t}-arm_dot_prod-arm_fp16-sve-vector_bits_256  # Neoverse V1, which has no SVE2
        [[has_sve() && sve_bits() == 256 && has_dot_prod() && has_fp16()]])
    endif()
    muattn_rung(sve2_128 ${t}-arm_dot_prod-arm_fp16-sve2-vector_bits_128
      [[has_sve2() && sve_bits() == 128 && has_dot_prod() && has_fp16()]])
    muattn_rung(neon_fp16 ${t}-arm_dot_prod-arm_fp16 [[has_dot_prod() && has_fp16()]])
    muattn_rung(neon ${t} true)
  elseif(t STREQUAL "arm-64-osx")
    muattn_rung(neon_fp16 ${t}-arm_dot_prod-arm_fp16 true)  # every such machine has both
  elseif(t STREQUAL "riscv-64-linux")
    if(MUATTN_KERNELS_ONLY AND asked STREQUAL t)
      message(FATAL_ERROR "${t}: without a C++ compiler for it here, one length of vectors, e.g. ${t}-rvv-vector_bits_256")
    endif()
    muattn_rung(rvv_256 ${t}-rvv-vector_bits_256 [[has_rvv() && rvv_bits() == 256]])
    muattn_rung(rvv_128 ${t}-rvv-vector_bits_128 [[has_rvv() && rvv_bits() == 128]])
    muattn_rung(scalar ${t} true C_BACKEND)  # Halide writes no code for a processor without vectors but C++
  elseif(t STREQUAL "wasm-32-wasmrt")
    muattn_rung(simd128 ${t}-wasm_simd128 true)  # an engine without it loads no such module
  endif()
  get_property(backends GLOBAL PROPERTY MUATTN_BACKENDS)
  if(NOT backends)
    muattn_single_target(${asked})
  endif()
endfunction()

# Of the caller's ladder: what was asked for, by all or by its target.
function(muattn_rung name target condition)
  if(asked STREQUAL t OR asked STREQUAL target)
    muattn_backend(${name} ${target} "${condition}" ${ARGN})
  endif()
endfunction()

# A target with features is one backend, scheduled for what the target says of its vectors. Whoever names it knows where it
# runs, but for the length of vectors.
function(muattn_single_target target)
  set(condition true)
  string(REGEX MATCH "-vector_bits_([0-9]+)" _ "${target}")
  set(bits "${CMAKE_MATCH_1}")
  if(target MATCHES "-sve2?(-|$)")
    set(machine sve2_${bits})
    set(condition "sve_bits() == ${bits}")
  elseif(target MATCHES "-rvv(-|$)")
    set(machine rvv_${bits})
    set(condition "has_rvv() && rvv_bits() == ${bits}")
  elseif(bits)
    set(machine simd${bits})
  elseif(target MATCHES "-avx512")
    set(machine simd512)
  elseif(target MATCHES "-avx")
    set(machine simd256)
  elseif(target MATCHES "^arm-64-")
    set(machine neon)
  else()
    set(machine simd128)
  endif()
  muattn_backend(${machine} ${target} "${condition}")
endfunction()

# The GPU backends: name of a machine in schedules/machine.h, also that of runtime/src/gpu's device API, and the feature of a
# Halide target, to be added to the host's. Code for CUDA capability 70 is the same as for 75, 80 and 86 but for its
# header, and drivers compile it for the device they find.
function(muattn_gpu_targets)
  muattn_gpu_backend(cuda cuda-cuda_capability_70)
  muattn_gpu_backend(vulkan vulkan-vk_int8)
  muattn_gpu_backend(opencl opencl)
endfunction()
