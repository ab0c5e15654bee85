// Where Halide's code for Vulkan, or its runtime there, gives wrong results. docs/halide-notes.md, 'GPU kernels'.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdlib>

#include "devices.h"
#include "in_child.h"

namespace muattn::test {
namespace {

using namespace Halide;

const Var x("x"), i("i"), block("block"), thread("thread");

std::vector<float> numbers(int first, int count, float step = 1) {
    std::vector<float> all;
    for (int n = 0; n < count; n++) {
        all.push_back(float(first) + step * float(n));
    }
    return all;
}

// A pipeline whose stages are of width * width, width, and width * width numbers, for one width after the other; the first numbers of the
// last output.
std::vector<float> in_turn(const std::vector<int> &widths) {
    setenv("HL_VK_ALLOC_CONFIG", "0:32:0:0:256", 1);
    const Var y("y");
    Param<int> period("period");
    Func map("map"), row("row"), out("out");
    map(x, y) = 100.0f * y;
    row(x) = map(x, 0) + map(0, x);
    out(x) = row(x % period);
    for (Func *stage : {&map, &row, &out}) {
        stage->compute_root().gpu_tile(x, block, thread, 8, TailStrategy::GuardWithIf);
    }
    std::vector<float> last;
    for (const int width : widths) {
        period.set(width);
        last = values_of(out, width * width, vulkan());
        last.resize(size_t(width));
    }
    return last;
}

TEST(VulkanMemory, GivenBackAndTakenAgainIsTooSmall) {
    const Outcome fresh = in_child([] { return in_turn({70}); }), again = in_child([] {
                                                                      return in_turn({70, 80, 70});
                                                                  });
    EXPECT_EQ(fresh, (Outcome{numbers(0, 70, 100), ""}));
    EXPECT_NE(again, fresh) << "it is large enough: halide_device_malloc() in runtime/src/gpu/memory.cpp can go";
}

// 24 numbers, 96 bytes of scalar arguments.
std::vector<float> many_scalars(const char *allocations) {
    if (allocations != nullptr) {
        setenv("HL_VK_ALLOC_CONFIG", allocations, 1);
    }
    constexpr int kScalars = 24;
    std::vector<Expr> scalars;
    std::vector<Param<float>> params(kScalars);
    for (int n = 0; n < kScalars; n++) {
        params[size_t(n)].set(float(n + 1));
        scalars.push_back(params[size_t(n)]);
    }
    Func out("out");
    out(x) = mux(x, scalars);
    out.bound(x, 0, kScalars).gpu_tile(x, block, thread, kScalars);
    return values_of(out, kScalars, vulkan());
}

TEST(VulkanScalars, PastTheFirst64BytesDoNotArrive) {
    const Outcome rounded = in_child([] { return many_scalars("0:32:0:0:256"); }),
                  plain = in_child([] { return many_scalars(nullptr); });
    EXPECT_EQ(rounded, (Outcome{numbers(1, 24), ""}));
    EXPECT_NE(plain, rounded) << "they do now: HL_VK_ALLOC_CONFIG in runtime/src/gpu/settings.cpp can go";
}

// A condition on a scalar argument, which is computed on the host and is then one of several arguments; or, with read, a condition together
// with something that is read.
std::vector<float> with_cap(float cap, bool read) {
    mallopt(M_PERTURB, 85);  // zeros that happen to lie beside the bit would be read right
    Param<float> softcap("softcap");
    softcap.set(cap);
    ImageParam lengths(Int(32), 1, "lengths"), in(Float(32), 1, "in");
    lengths.set(zeros());
    Buffer<float> threes(4);
    threes.fill(3);
    in.set(threes);
    Func out("out");
    out(x) = select(softcap > (read ? cast<float>(lengths(0)) : 0.0f), in(x)*softcap, in(x));
    out.bound(x, 0, 4).gpu_tile(x, block, thread, 4);
    return values_of(out, 4, vulkan());
}

TEST(VulkanScalars, AConditionAmongThemIsMisread) {
    const Outcome read = in_child([] { return with_cap(0, true); }),
                  plain = in_child([] { return with_cap(0, false); });
    EXPECT_EQ(read, (Outcome{{3, 3, 3, 3}, ""}));
    EXPECT_NE(plain, read) << "it is read right: softcap_condition in generators/spatial_attention/block.cpp can go";
}

// x / 7, as integers or as floats.
std::vector<float> divided(bool integers) {
    Func out("out");
    Buffer<int> in(64);
    for (int n = 0; n < 64; n++) {
        in(n) = n;
    }
    out(x) = integers ? cast<float>(in(x) / 7) : floor((in(x) + 0.5f) / 7);
    out.bound(x, 0, 64).gpu_tile(x, block, thread, 64);
    return values_of(out, 64, vulkan());
}

TEST(VulkanIntegers, DivisionTakes64Bits) {
    const Outcome floats = in_child([] { return divided(false); }), integers = in_child([] { return divided(true); });
    std::vector<float> right;
    for (int n = 0; n < 64; n++) {
        right.push_back(float(n / 7));
    }
    EXPECT_EQ(floats, (Outcome{right, ""}));
    EXPECT_NE(integers, floats)
        << "it does no longer: head dimensions may divide in generators/spatial_attention/block.cpp";
}

// 34 values per x, written by one kernel and summed by another: a buffer per value, or one for all.
std::vector<float> handed_over(bool one_buffer) {
    constexpr int kValues = 34;
    std::vector<Expr> values, sum;
    for (int n = 0; n < kValues; n++) {
        values.push_back(cast<float>(x * n));
    }
    Func state("state"), out("out");
    if (one_buffer) {
        state(i, x) = mux(i, values);
    } else {
        state(x) = Tuple(values);
    }
    Expr total = 0.0f;
    for (int n = 0; n < kValues; n++) {
        total += one_buffer ? Expr(state(n, x)) : Expr(state(x)[n]);
    }
    out(x) = total;
    state.compute_root().gpu_tile(x, block, thread, 8);
    out.bound(x, 0, 8).gpu_tile(x, block, thread, 8);
    return values_of(out, 8, vulkan());
}

TEST(VulkanBuffers, ATupleOfManyIsTooMany) {
    const Outcome one = in_child([] { return handed_over(true); }), many = in_child([] { return handed_over(false); });
    EXPECT_EQ(one, (Outcome{numbers(0, 8, 33 * 34 / 2), ""}));
    EXPECT_NE(many, one) << "it is not: partial in generators/spatial_attention/block.cpp can be a Tuple";
}

// A buffer of bytes, on a target with or without vk_int8.
std::vector<float> bytes(bool with_feature) {
    Buffer<uint8_t> in(4);
    in.fill(5);
    Func out("out");
    out(x) = cast<float>(in(x));
    out.bound(x, 0, 4).gpu_tile(x, block, thread, 4);
    return values_of(out, 4, with_feature ? vulkan() : vulkan().without_feature(Target::VulkanInt8));
}

TEST(VulkanBuffers, BytesNeedAFeature) {
    const Outcome with = in_child([] { return bytes(true); }), without = in_child([] { return bytes(false); });
    EXPECT_EQ(with, (Outcome{{5, 5, 5, 5}, ""}));
    EXPECT_NE(without, with) << "they do no longer: vk_int8 in tables/machines.json can go";
}

// Halide's runtime alone, where a loader has no driver.
TEST(VulkanLoader, WithoutADeviceItEndsTheProcess) {
    const Outcome outcome = in_child([] {
        setenv("VK_ICD_FILENAMES", "/nonexistent/driver.json", 1);
        setenv("VK_DRIVER_FILES", "/nonexistent/driver.json", 1);
        return bytes(true);
    });
    EXPECT_NE(outcome.failure.find("signal"), std::string::npos)
        << outcome << "\nit is an error now: vulkan_has_device() in runtime/src/gpu/device.cpp can go";
}

}  // namespace
}  // namespace muattn::test
