// What Halide's code generators for GPUs make of an assertion in a kernel. docs/halide-notes.md, 'GPU kernels'.
#include <gtest/gtest.h>

#include "devices.h"
#include "in_child.h"

namespace muattn::test {
namespace {

using namespace Halide;

const Var x("x"), y("y"), block("block"), thread("thread"), map("map");

// A head's number and what it shares, 'other = head % 3', by one or the other way to say that; heads and batch entries in one loop.
Func of_head(bool remainder) {
    const Var h("h"), b("b");
    Func shared("shared"), out("out");
    shared(y, x) = cast<float>(y);
    const Expr other = remainder ? h % 3 : h - h / 3 * 3;
    out(x, h, b) = shared(other, x);
    out.bound(x, 0, 8).bound(h, 0, 6).bound(b, 0, 1).fuse(h, b, map).gpu_tile(x, block, thread, 8).gpu_blocks(map);
    shared.compute_at(out, block).bound_extent(x, 8).bound_extent(y, 1).store_in(MemoryType::GPUShared).gpu_threads(x);
    return out;
}

std::vector<float> heads(bool remainder) {
    Buffer<float> result = of_head(remainder).realize({8, 6, 1}, opencl());
    result.copy_to_host();
    std::vector<float> first;
    for (int head = 0; head < 6; head++) {
        first.push_back(result(0, head, 0));
    }
    return first;
}

TEST(Assertions, AreIgnoredByOpenCl) {
    const Outcome difference = in_child([] { return heads(false); }), remainder = in_child([] { return heads(true); });
    EXPECT_EQ(difference, (Outcome{{0, 1, 2, 0, 1, 2}, ""}));
    EXPECT_NE(remainder, difference) << "a remainder is a point now";
    EXPECT_EQ(remainder.failure, "")
        << "OpenCL no longer ignores assertions: the warning in docs/halide-notes.md can go";
}

TEST(Assertions, EndCodeGenerationForMetal) {
    const auto generate = [](const char *target) {
        return in_child([=] {
            of_head(true).compile_to_module({}, "of_head", Target(target));
            return std::vector<float>{1};
        });
    };
    EXPECT_EQ(generate("arm-64-osx-metal-no_asserts"), (Outcome{{1}, ""}));
    EXPECT_NE(generate("arm-64-osx-metal").failure, "")
        << "they do no longer: no_asserts of muattn_device() in cmake/MuattnBackends.cmake can go";
}

}  // namespace
}  // namespace muattn::test
