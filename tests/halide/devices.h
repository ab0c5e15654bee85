// The devices on which Halide's behaviour is tested, and what a pipeline gives there.
#pragma once

#include <vector>

#include "Halide.h"

namespace muattn::test {

inline Halide::Target opencl() { return Halide::get_host_target().with_feature(Halide::Target::OpenCL); }
inline Halide::Target vulkan() {
    return Halide::get_host_target().with_feature(Halide::Target::Vulkan).with_feature(Halide::Target::VulkanInt8);
}

// The first n values.
inline std::vector<float> values_of(Halide::Func f, int n, const Halide::Target &target) {
    Halide::Buffer<float> buffer = f.realize({n}, target);
    buffer.copy_to_host();
    return {buffer.begin(), buffer.end()};
}

// For conditions that are read in the kernel, and that Halide cannot work out.
inline Halide::Buffer<int> zeros() {
    Halide::Buffer<int> zeros(1);
    zeros.fill(0);
    return zeros;
}

}  // namespace muattn::test
