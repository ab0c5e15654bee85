// What a schedule may know about the machine it is written for. No Halide here: the runtime
// reads the same facts to size the scratch memory that the compiled kernels will ask for.
#pragma once

namespace muattn::schedule {

struct Machine {
    int lanes;             // float32 lanes of one vector register; 1 on a GPU, where a thread is a lane
    int registers;         // vector registers
    int shared_bytes = 0;  // memory that the threads of a block may share on a GPU
};

enum class MachineName { sse41,
                         avx2,
                         avx512,
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
    case MachineName::cuda: return {1, 64, 48 << 10};
    // What the devices of the field have at least.
    case MachineName::opencl:
    case MachineName::vulkan:
    case MachineName::metal: return {1, 64, 32 << 10};
    case MachineName::webgpu: return {1, 64, 16 << 10};
    }
    return {4, 16};
}

}  // namespace muattn::schedule
