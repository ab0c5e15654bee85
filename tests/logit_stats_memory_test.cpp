// Statistics of logits: nothing is read or written outside a tensor; memory is reserved before the work.
#include "support/backends.h"
#include "support/counting_allocator.h"
#include "support/logit_stats.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

using Place = Memory::Place;

class LogitStatsMemory : public OnEveryBackend {
protected:
    void SetUp() override {
        OnEveryBackend::SetUp();
        if (is_gpu(GetParam())) {
            GTEST_SKIP() << "statistics are for processors";
        }
    }
};
MUATTN_ON_EVERY_BACKEND(LogitStatsMemory);

TEST_P(LogitStatsMemory, SpatialAtForbiddenPages) {
    const auto s = logit_stats_schedule(GetParam());
    for (const Place place : {Place::before_forbidden_page, Place::after_forbidden_page}) {
        for (const int64_t n_q : {1, 3, s.lanes + 1, s.block_rows() + 1, s.tile_rows() + 1}) {
            for (const int64_t n_k : {1, 5, s.chunk_keys, s.chunk_keys + 1}) {
                for (const int64_t d : {1, 3, 17}) {
                    SpatialCase c;
                    c.n_q = n_q, c.n_k = n_k, c.d = d;
                    SpatialTensors t;
                    t.q = Tensor({1, 1, n_q, d}, place);
                    t.k = Tensor({1, 1, n_k, d}, place);
                    t.q.fill_normal(1);
                    t.k.fill_normal(2);
                    expect_stats_agree(c, t);
                    c.mask = SpatialCase::additive;
                    t.mask = Tensor({1, 1, n_q, n_k}, place);
                    t.mask.fill_normal(3);
                    c.causal = MUATTN_CAUSAL_TOP_LEFT;
                    expect_stats_agree(c, t);
                }
            }
        }
    }
}

TEST_P(LogitStatsMemory, ChannelAtForbiddenPages) {
    for (const Place place : {Place::before_forbidden_page, Place::after_forbidden_page}) {
        for (const int64_t n : {1, 5, 130}) {
            for (const int64_t d : {1, 3, 17, 65}) {
                for (const muattn_layout layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
                    ChannelCase c;
                    c.n = n, c.d = d, c.channels = layout;
                    ChannelTensors t = make_tensors(c);
                    t.q = Tensor(t.out.shape(), place);
                    t.k = Tensor(t.out.shape(), place);
                    t.q.fill_normal(1);
                    t.k.fill_normal(2);
                    expect_stats_agree(c, t);
                }
            }
        }
    }
}

// Scratch memory for each thread, and what all share; no task needs more.
template<typename Case>
void expect_two_kinds_of_blocks(const Case &c) {
    const auto t = make_tensors(c);
    const Tensor stats = make_stats(c.B, c.H, dense());
    for (const int threads : {1, 2}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        muattn_release_memory();
        CountingAllocator allocator;
        ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK) << muattn_last_error();
        EXPECT_LE(allocator.allocations, threads + 1) << testing::PrintToString(c);
    }
}

TEST_P(LogitStatsMemory, TasksAllocateNothing) {
    const auto s = logit_stats_schedule(GetParam());
    for (const int64_t d : {1, 3, 16, 33, 64, 127, 1024}) {
        for (const int64_t n_q : {1, s.block_rows() + 1, 2 * s.tile_rows() + 1}) {
            for (const int64_t n_k : {1, s.key_unroll + 1, s.chunk_keys, 2 * s.chunk_keys + 1}) {
                for (const auto mask : {SpatialCase::no_mask, SpatialCase::additive, SpatialCase::boolean}) {
                    SpatialCase c;
                    c.H = 2, c.d = d, c.n_q = n_q, c.n_k = n_k, c.mask = mask;
                    expect_two_kinds_of_blocks(c);
                }
            }
        }
        for (const int64_t n : {0, 1, 150}) {
            ChannelCase c;
            c.H = 2, c.n = n, c.d = d, c.normalize = 1, c.scale = {2.0f};
            expect_two_kinds_of_blocks(c);
        }
    }
}

// Whichever allocation fails, nothing is written, and the next call works.
TEST_P(LogitStatsMemory, OutOfMemory) {
    SpatialCase c;
    c.B = 40, c.H = 2, c.n_q = 5, c.n_k = 9, c.d = 5;  // lengths that are too many to be kept inline
    c.key_lengths.assign(size_t(c.B), 8);
    const SpatialTensors t = make_tensors(c);
    const Tensor stats = make_stats(c.B, c.H, dense());
    const WriteWatch watch(stats);
    for (int failing = 0;; failing++) {
        muattn_release_memory();
        CountingAllocator allocator;
        allocator.fail_only = failing;
        const muattn_status status = run_stats(c, t, stats);
        if (status == MUATTN_OK) {
            EXPECT_GE(failing, 2);
            break;
        }
        ASSERT_EQ(status, MUATTN_OUT_OF_MEMORY) << muattn_last_error();
        EXPECT_EQ(watch.changes(), 0);
        ASSERT_LT(failing, 100);
    }
    expect_stats_agree(c, t);
}

}  // namespace
}  // namespace muattn::test
