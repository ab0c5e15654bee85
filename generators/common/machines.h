// The machines of schedules/machine.h as values of a GeneratorParam.
#pragma once
#include <map>
#include <string>

#include "schedules/common/machine.h"

namespace muattn {

inline const std::map<std::string, schedule::MachineName> &machine_names() {
    static const std::map<std::string, schedule::MachineName> names{
        {"sse41", schedule::MachineName::sse41},         {"avx2", schedule::MachineName::avx2},
        {"avx512", schedule::MachineName::avx512},       {"neon", schedule::MachineName::neon},
        {"neon_fp16", schedule::MachineName::neon_fp16}, {"sve2_128", schedule::MachineName::sve2_128},
        {"sve2_256", schedule::MachineName::sve2_256},   {"sve2_512", schedule::MachineName::sve2_512},
        {"rvv_128", schedule::MachineName::rvv_128},     {"rvv_256", schedule::MachineName::rvv_256},
        {"scalar", schedule::MachineName::scalar},       {"simd128", schedule::MachineName::simd128},
        {"simd256", schedule::MachineName::simd256},     {"simd512", schedule::MachineName::simd512},
        {"cuda", schedule::MachineName::cuda},           {"opencl", schedule::MachineName::opencl},
        {"vulkan", schedule::MachineName::vulkan},       {"metal", schedule::MachineName::metal},
        {"webgpu", schedule::MachineName::webgpu},       {"sve_256", schedule::MachineName::sve_256},
    };
    return names;
}

}  // namespace muattn
