# The CPU backends of this build, best first: name of a machine in schedules/machine.h, its Halide target, and the C++
# condition under which a processor (and its operating system) runs it, evaluated in runtime/src/registry.cpp. One line adds a rung to the ladder.
function(muattn_targets)
  if(Halide_CMAKE_TARGET MATCHES "^x86-64-linux")
    muattn_backend(avx512 x86-64-linux-sse41-avx-f16c-fma-avx2-avx512-avx512_skylake
      [[__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()]])
    muattn_backend(avx2 x86-64-linux-sse41-avx-f16c-fma-avx2
      [[__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c()]])
    muattn_backend(sse41 x86-64-linux-sse41 [[__builtin_cpu_supports("sse4.1")]])
  else()
    message(FATAL_ERROR "muattn: no backend for ${Halide_CMAKE_TARGET}; add one to cmake/targets.cmake")
  endif()
endfunction()

# The GPU backends: name of a machine in schedules/machine.h, also that of runtime/src/gpu's device API, and the feature of a
# Halide target, to be added to the host's. Code for CUDA capability 70 is the same as for 75, 80 and 86 but for its header
# (tests/gpu holds that), and drivers compile it for the device they find.
function(muattn_gpu_targets)
  muattn_gpu_backend(cuda cuda-cuda_capability_70)
  muattn_gpu_backend(vulkan vulkan-vk_int8)
  muattn_gpu_backend(opencl opencl)
endfunction()
