// The scratch memory of spatial attention's gradients.
#include <algorithm>

#include "support/backends.h"
#include "support/counting_allocator.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class SpatialBackwardMemory : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialBackwardMemory);

// Several lanes, several maps, a mask whose gradient is in parts, and lengths that are too many to be kept inline.
SpatialBackwardCase large(const std::string &backend) {
    SpatialBackwardCase c;
    c.n_q = 20, c.n_k = 2 * key_blocks_schedule(backend).span_keys + 5, c.d = 5, c.d_v = 3;
    return c;
}

SpatialBackwardCase many() {
    SpatialBackwardCase c;
    c.B = 66, c.H = 2, c.Hk = 1, c.n_q = 20, c.n_k = 30, c.d = 5, c.d_v = 3;
    c.key_lengths.assign(size_t(c.B), 29);
    c.mask = SpatialCase::additive;
    c.mask_full = {false, false, true, true};
    return c;
}

// Whichever allocation fails, the call says so, writes nothing, leaks nothing, and the next call works.
void expect_clean_failures(const SpatialBackwardCase &c) {
    const SpatialGradientTensors t = make_gradient_tensors(c);
    for (const int threads : {1, 2}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        int failures = 0;
        for (;; failures++) {
            muattn_release_memory();
            t.clear();
            const std::vector<float> before = t.results();
            CountingAllocator allocator;
            allocator.fail_only = failures;
            const muattn_status status = run(c, t);
            if (status == MUATTN_OK) {
                break;
            }
            ASSERT_EQ(status, MUATTN_OUT_OF_MEMORY) << muattn_last_error();
            const std::vector<float> after = t.results();
            EXPECT_TRUE(std::all_of(after.begin(), after.end(), is_untouched))
                << "written in spite of failing allocation " << failures;
            muattn_release_memory();
            EXPECT_TRUE(allocator.live.empty()) << "leaked by failing allocation " << failures;
            ASSERT_LT(failures, 100);
        }
        EXPECT_GE(failures, threads + 1) << "each thread has scratch memory of its own, and all share a block";
        expect_gradients_agree(c, t);
    }
}

TEST_P(SpatialBackwardMemory, OutOfMemory) {
    expect_clean_failures(large(GetParam()));
    expect_clean_failures(many());
}

// What is reserved before the first kernel starts is enough for all that it asks for, at any shape.
TEST_P(SpatialBackwardMemory, TasksAllocateNothing) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const auto s = key_blocks_schedule(GetParam());
    for (const int64_t n_q : around({2, s.row_unroll, s.block_queries, 2 * s.block_queries})) {
        for (const int64_t n_k : {1, s.panel(), s.block_keys() + 1, s.span_keys, s.span_keys + 1}) {
            for (const int64_t d : {1, 7, 33, 1024}) {
                for (const int64_t d_v : {1, 33, 1024}) {
                    if (n_q * n_k * std::max(d, d_v) > 300'000) {
                        continue;
                    }
                    SpatialBackwardCase c;
                    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = d_v;
                    // The mask's gradient, by its shape and with softcap, has memory of its own.
                    for (const int kind : {0, 1, 2, 3}) {
                        c.mask = kind == 0 ? SpatialCase::no_mask : SpatialCase::additive;
                        c.mask_full = {true, true, true, kind != 3};
                        c.softcap = kind == 2 ? 2.0f : 0.0f;
                        const SpatialGradientTensors t = make_gradient_tensors(c);
                        CountingAllocator allocator;
                        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                        EXPECT_EQ(allocator.allocations, 2) << testing::PrintToString(c);
                        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                        EXPECT_EQ(allocator.allocations, 2) << "not kept: " << testing::PrintToString(c);
                    }
                }
            }
        }
    }
}

// At most 32 MB a thread, however long the call is.
TEST_P(SpatialBackwardMemory, IsBounded) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    for (const auto &[n_q, n_k, d] : {std::array<int64_t, 3>{40000, 40, 8}, {40, 40000, 8}, {100, 3000, 1024}}) {
        SpatialBackwardCase c;
        c.n_q = n_q, c.n_k = n_k, c.d = c.d_v = d;
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        const SpatialGradientTensors t = make_gradient_tensors(c);
        muattn_release_memory();
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        EXPECT_LE(muattn_scratch_bytes(), size_t(32) << 20) << testing::PrintToString(c);
    }
}

}  // namespace
}  // namespace muattn::test
