// What Halide does with the memory that a thread block shares: who gets it, and when. docs/halide-notes.md, 'GPU kernels'.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "devices.h"
#include "in_child.h"

namespace muattn::test {
namespace {

using namespace Halide;

constexpr int kThreads = 8;
const Var x("x"), c("c"), block("block"), thread("thread");

// A thread to each x of a block.
void share(Func stage, const LoopLevel &level) {
    stage.compute_at(level).bound_extent(x, kThreads).store_in(MemoryType::GPUShared).gpu_threads(x);
}

// 'before' is written before a serial loop and read in it; P is written in the loop, after that. With kept, 'before' is also read
// after the loop, under a condition that never holds.
std::vector<float> written_before_a_loop(const Target &target, bool kept) {
    const RDom r(0, 3, "r");
    ImageParam lengths(Int(32), 1, "lengths");
    lengths.set(zeros());
    Func before("before"), S("S"), P("P"), sum("sum"), out("out");
    before(x) = x + 1.0f;
    S(x, c) = before(kThreads - 1 - x) * (c + 1.0f);
    P(x, c) = 100.0f * S(kThreads - 1 - x, c);
    sum(x) = 0.0f;
    sum(x) += P(x, r);
    out(x) = kept ? select(lengths(0) >= 0, sum(x), before(x)) : Expr(sum(x));

    out.bound(x, 0, kThreads).gpu_tile(x, block, thread, kThreads);
    share(before, {out, block});
    share(sum, {out, block});
    sum.update().reorder(x, r).gpu_threads(x);
    share(S.bound_extent(c, 1), {sum, r});
    share(P.bound_extent(c, 1), {sum, r});
    return values_of(out, kThreads, target);
}

// A stage of two rows, copied by four threads, between two others of four.
std::vector<float> fewer_rows_than_threads(const Target &target, TailStrategy tail) {
    constexpr int kRows = 2;
    Buffer<float> in(kThreads);
    for (int i = 0; i < kThreads; i++) {
        in(i) = float(i + 1);
    }
    Func before("before"), copy("copy"), after("after"), out("out");
    const Var outer("outer"), inner("inner");
    before(x) = 10.0f * in(clamp(x, 0, kThreads - 1));
    copy(x) = in(clamp(x, 0, kThreads - 1));
    after(x) = 100.0f * in(clamp(x, 0, kThreads - 1));
    out(x) = before(x) + copy(x % kRows) + after(x);

    out.bound(x, 0, kThreads).gpu_tile(x, block, thread, kThreads);
    share(before, {out, block});
    share(after, {out, block});
    copy.compute_at(out, block)
        .bound_extent(x, kRows)
        .store_in(MemoryType::GPUShared)
        .split(x, outer, inner, 4, tail)
        .gpu_threads(inner);
    return values_of(out, kThreads, target);
}

// A large stage's memory is free before a small and another large stage are written; with depends, the small one reads the large one, under
// a condition that never holds. The floats that a thread block shares.
std::vector<float> large_small_large(bool depends) {
    constexpr int kLarge = 1024;
    ImageParam lengths(Int(32), 1, "lengths");
    Func K("K"), S("S"), M("M"), V("V"), out("out");
    K(x) = cast<float>(x);
    S(x) = K(kThreads - 1 - x) + K(x + kLarge - kThreads);
    V(x) = x * 2.0f;
    const Expr small = 2.0f * S(kThreads - 1 - x);
    M(x) = depends ? select(lengths(0) >= 0, small, V(0)) : small;
    out(x) = M(kThreads - 1 - x) + V(x) + V(x + kLarge - kThreads);

    out.bound(x, 0, kThreads).gpu_tile(x, block, thread, kThreads);
    for (Func *stage : {&S, &M}) {
        share(*stage, {out, block});
    }
    for (Func *stage : {&K, &V}) {
        const Var outer("outer"), inner("inner");
        stage->compute_at(out, block)
            .bound_extent(x, kLarge)
            .store_in(MemoryType::GPUShared)
            .split(x, outer, inner, kThreads)
            .gpu_threads(inner);
    }
    const std::string file = testing::TempDir() + "muattn_shared_" + std::to_string(getpid()) + ".stmt";
    out.compile_to_conceptual_stmt(file, {lengths}, Text, opencl());
    std::ifstream stream(file);
    const std::string text{std::istreambuf_iterator<char>(stream), {}};
    remove(file.c_str());
    const std::regex allocation(R"(allocate \S+\[float32 \* (\d+)\] in GPUShared)");
    float sum = 0;
    for (std::sregex_iterator found(text.begin(), text.end(), allocation), end; found != end; ++found) {
        sum += std::stof((*found)[1]);
    }
    return {sum};
}

struct Api {
    const char *name;
    Target (*target)();
};

class SharedMemory : public testing::TestWithParam<Api> {};
INSTANTIATE_TEST_SUITE_P(Apis, SharedMemory, testing::Values(Api{"opencl", opencl}, Api{"vulkan", vulkan}),
                         [](const testing::TestParamInfo<Api> &param) { return param.param.name; });

TEST_P(SharedMemory, WrittenBeforeALoopIsGivenAwayInIt) {
    const Outcome kept = in_child([] { return written_before_a_loop(GetParam().target(), true); }),
                  given_away = in_child([] { return written_before_a_loop(GetParam().target(), false); });
    EXPECT_EQ(kept, (Outcome{{600, 1200, 1800, 2400, 3000, 3600, 4200, 4800}, ""}));
    EXPECT_NE(given_away, kept)
        << "Halide gives it away no longer: kept_alive() of Q in generators/spatial_attention/block.cpp can go";
}

TEST_P(SharedMemory, ATileLargerThanItsStageBeginsBeforeIt) {
    const Outcome guarded =
                      in_child([] { return fewer_rows_than_threads(GetParam().target(), TailStrategy::GuardWithIf); }),
                  shifted = in_child([] { return fewer_rows_than_threads(GetParam().target(), TailStrategy::Auto); });
    EXPECT_EQ(guarded, (Outcome{{111, 222, 331, 442, 551, 662, 771, 882}, ""}));
    EXPECT_NE(shifted, guarded) << "Halide begins before it no longer: GuardWithIf of staged() in "
                                   "schedules/spatial_attention/block_gpu.h can go";
}

TEST(SharedMemoryThatIsFree, GoesToTheFirstHoweverSmall) {
    const Outcome dependent = in_child([] { return large_small_large(true); }),
                  plain = in_child([] { return large_small_large(false); });
    EXPECT_EQ(dependent, (Outcome{{1024 + 2 * kThreads}, ""}));
    EXPECT_NE(plain, dependent)
        << "it goes to the one that fits: kept_alive() of V in generators/spatial_attention/block.cpp can go";
}

}  // namespace
}  // namespace muattn::test
