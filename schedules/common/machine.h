// What a schedule may know about the machine it is written for. No Halide here: the runtime
// reads the same facts to size the scratch memory that the compiled kernels will ask for.
#pragma once

namespace muattn::schedule {

struct Machine {
    int lanes;      // float32 lanes of one vector register; 1 on a GPU, where a thread is a lane
    int registers;  // vector registers
    // Vectors as long as the machine likes. Halide 21's code for them is wrong where it loads every 2nd to 4th float, so blocks
    // to be transposed have longer rows, and where it gathers at negative offsets, so the runtime keeps those away.
    bool scalable = false;
    int shared_bytes = 0;  // memory that the threads of a block may share on a GPU

    constexpr bool few_registers() const { return registers < 16; }
};

enum class MachineName { sse41,
                         avx2,
                         avx512,
                         neon,
                         neon_fp16,
                         sve_256,
                         sve2_128,
                         sve2_256,
                         sve2_512,
                         rvv_128,
                         rvv_256,
                         scalar,
                         simd128,
                         simd256,
                         simd512,
                         cuda,
                         opencl,
                         vulkan,
                         metal,
                         webgpu };

constexpr Machine machine(MachineName name) {
    switch (name) {
    case MachineName::sse41: return {4, 16};
    case MachineName::avx2: return {8, 16};
    case MachineName::avx512: return {16, 32};
    // ARM. neon_fp16 also has arm_dot_prod and arm_fp16.
    case MachineName::neon: return {4, 32};
    case MachineName::neon_fp16: return {4, 32};
    // SVE, SVE2 and RISC-V's V with vectors of so many bits, no other length.
    case MachineName::sve_256: return {8, 32, true};
    case MachineName::sve2_128: return {4, 32, true};
    case MachineName::sve2_256: return {8, 32, true};
    case MachineName::sve2_512: return {16, 32, true};
    case MachineName::rvv_128: return {4, 32, true};
    case MachineName::rvv_256: return {8, 32, true};
    // No vectors: 32 registers of one float hold 8 times 4.
    case MachineName::scalar: return {4, 8};
    // Where no more is known than the length of a vector.
    case MachineName::simd128: return {4, 16};
    case MachineName::simd256: return {8, 16};
    case MachineName::simd512: return {16, 32};
    case MachineName::cuda: return {1, 64, false, 48 << 10};
    // What the devices of the field have at least.
    case MachineName::opencl:
    case MachineName::vulkan:
    case MachineName::metal: return {1, 64, false, 32 << 10};
    case MachineName::webgpu: return {1, 64, false, 16 << 10};
    }
    return {4, 16};
}

}  // namespace muattn::schedule
