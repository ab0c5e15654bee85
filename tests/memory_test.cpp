// Scratch memory: where it comes from, how much, and what happens when there is none.
#include <algorithm>

#include "support/backends.h"
#include "support/cases.h"
#include "support/channel_gradients.h"
#include "support/counting_allocator.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

// More tasks than threads, several tiles to a head, and lengths that are too many to be kept inline.
SpatialCase large_spatial(const std::string &backend) {
    SpatialCase c;
    c.B = 66, c.H = 2, c.Hk = 1, c.n_q = spatial_schedule(backend).tile_rows() + 5, c.n_k = 9, c.d = 5, c.d_v = 3;
    c.key_lengths.assign(size_t(c.B), 8);
    return c;
}

ChannelCase large_channel(const std::string &backend) {
    ChannelCase c;
    c.B = 2, c.H = 2, c.n = 9, c.d = channel_schedule(backend).tile_rows() + 5;
    return c;
}

class MemoryOfCalls : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(MemoryOfCalls);

// Whichever allocation fails, the call says so, writes nothing, leaks nothing, and the next call works.
template<typename Case, typename Tensors>
void expect_clean_failures(const Case &c, const Tensors &t, const std::vector<const Tensor *> &outputs) {
    for (const int threads : {1, 2}) {
        for (const bool all_from : {false, true}) {
            SCOPED_TRACE(testing::Message()
                         << threads << " threads, "
                         << (all_from ? "all allocations from one on fail" : "one allocation fails"));
            ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
            int failures = 0;
            for (;; failures++) {
                muattn_release_memory();
                CountingAllocator allocator;
                (all_from ? allocator.fail_from : allocator.fail_only) = failures;
                std::vector<WriteWatch> watches;
                for (const Tensor *output : outputs) {
                    watches.emplace_back(*output);
                }
                const muattn_status status = run(c, t);
                if (status == MUATTN_OK) {
                    break;
                }
                ASSERT_EQ(status, MUATTN_OUT_OF_MEMORY) << muattn_last_error();
                EXPECT_NE(std::string(muattn_last_error()).find("memory"), std::string::npos) << muattn_last_error();
                for (const WriteWatch &watch : watches) {
                    EXPECT_EQ(watch.changes(), 0) << "written in spite of failing allocation " << failures;
                }
                allocator.fail_from = INT32_MAX, allocator.fail_only = -1;
                muattn_release_memory();
                EXPECT_TRUE(allocator.live.empty())
                    << allocator.live.size() << " blocks leaked by failing allocation " << failures;
                EXPECT_EQ(allocator.unknown_frees, 0);
                ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                for (const Tensor *output : outputs) {
                    output->fill(untouched());
                }
                ASSERT_LT(failures, 100);
            }
            EXPECT_GE(failures, threads) << "each thread has scratch memory of its own";
            expect_agrees(c, t);
            for (const Tensor *output : outputs) {
                output->fill(untouched());
            }
        }
    }
}

TEST_P(MemoryOfCalls, SpatialOutOfMemory) {
    const SpatialCase c = large_spatial(GetParam());
    const SpatialTensors t = make_tensors(c);
    expect_clean_failures(c, t, {&t.out});
}

TEST_P(MemoryOfCalls, ChannelOutOfMemory) {
    const ChannelCase c = large_channel(GetParam());
    const ChannelTensors t = make_tensors(c);
    expect_clean_failures(c, t, {&t.out});
}

TEST_P(MemoryOfCalls, ChannelGradientsOutOfMemory) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "gradients are for processors";
    }
    ChannelGradientCase c;
    c.B = 2, c.H = 2, c.n = 3000, c.d = 5;  // spans of tokens
    for (const auto &[channels, normalize] : {std::pair{MUATTN_CHANNELS_LAST, 1}, {MUATTN_CHANNELS_FIRST, 0}}) {
        c.channels = channels, c.normalize = normalize;
        const ChannelGradientTensors t = make_tensors(c);
        expect_clean_failures(c, t, {&t.d_q, &t.d_k, &t.d_v});
    }
}

// With one thread a head goes through all steps in one task: memory for the gradients of numbers, and the task's.
TEST_P(MemoryOfCalls, ChannelGradientTasksAllocateNothing) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "gradients are for processors";
    }
    const auto map = map_schedules(GetParam()).front();
    const auto first = map_first_schedule(GetParam());
    std::vector<int64_t> sizes =
        around({map.lanes, map.column_group, 2 * map.block(), map.tile(), first.tile(), 2 * first.tile(), 1023});
    const std::vector<int64_t> small = up_to(20);
    sizes.insert(sizes.end(), small.begin(), small.end());
    for (const int threads : {1, 2}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        for (const int64_t d : sizes) {
            for (const int64_t n : {0, 1, 13, map.chunk_tokens + 1, first.chunk_tokens + 1, 2100}) {
                for (const int variant : {0, 1, 2, 3}) {
                    if (n * d * d < 20'000'000) {
                        ChannelGradientCase c;
                        c.n = n, c.d = d, c.normalize = variant % 2;
                        c.channels = variant < 2 ? MUATTN_CHANNELS_LAST : MUATTN_CHANNELS_FIRST;
                        muattn_release_memory();
                        CountingAllocator allocator;
                        ASSERT_EQ(run(c, make_tensors(c)), MUATTN_OK) << muattn_last_error();
                        EXPECT_EQ(allocator.allocations, threads + 1) << testing::PrintToString(c);
                    }
                }
            }
        }
    }
}

// What a call needs is kept for the next; the array of lengths is not.
TEST_P(MemoryOfCalls, IsKeptBetweenCalls) {
    const SpatialCase spatial = large_spatial(GetParam());
    SpatialCase few_lengths = spatial;
    few_lengths.B = 2;
    few_lengths.key_lengths = {8, 3};
    const ChannelCase channel = large_channel(GetParam());
    const SpatialTensors t = make_tensors(spatial), t_few = make_tensors(few_lengths);
    const ChannelTensors t_channel = make_tensors(channel);
    for (const int threads : {1, 2}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        CountingAllocator allocator;
        auto allocations_of = [&](auto &&call) {
            const int before = allocator.allocations;
            EXPECT_EQ(call(), MUATTN_OK) << muattn_last_error();
            return allocator.allocations - before;
        };
        EXPECT_EQ(allocations_of([&] { return run(spatial, t); }), threads + 1);
        for (int i = 0; i < 3; i++) {
            EXPECT_EQ(allocations_of([&] { return run(spatial, t); }), 1);
            EXPECT_EQ(allocations_of([&] { return run(few_lengths, t_few); }), 0);
        }
        muattn_release_memory();
        EXPECT_EQ(allocations_of([&] { return run(channel, t_channel); }), threads);
        EXPECT_EQ(allocations_of([&] { return run(channel, t_channel); }), 0);
    }
}

// What is reserved before the kernel starts is enough for all that it asks for, at any shape.
TEST_P(MemoryOfCalls, SpatialTasksAllocateNothing) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const auto s = spatial_schedule(GetParam());
    for (const int64_t n_q : around({2, s.lanes, s.block_rows(), s.tile_rows(), 2 * s.tile_rows()})) {
        for (const int64_t n_k : {int64_t(1), int64_t(s.chunk_keys), int64_t(s.chunk_keys + 1)}) {
            for (const int64_t d : {1, 7, 16, 33, 1023, 1024}) {
                for (const int64_t d_v : {1, 5, 33, 1023, 1024}) {
                    if (std::max(d, d_v) > 33 && n_q * n_k > 10000) {
                        continue;
                    }
                    SpatialCase c;
                    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = d_v;
                    const SpatialTensors t = make_tensors(c);
                    for (const bool many_keys : {false, true}) {
                        c.key_lengths.assign(many_keys, n_k);
                        CountingAllocator allocator;
                        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                        // Split keys keep partial results in a block of its own.
                        const bool split = std::string(muattn_last_kernel()).find("/split") != std::string::npos;
                        EXPECT_EQ(allocator.allocations, split ? 2 : 1) << testing::PrintToString(c);
                    }
                }
            }
        }
    }
}

TEST_P(MemoryOfCalls, TasksOfFewKeysAllocateNothing) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    for (const int64_t n_k : {1, 49, 512}) {
        for (const int64_t d_v : {1, 40}) {
            for (const bool lse : {false, true}) {
                for (const auto mask : {SpatialCase::no_mask, SpatialCase::additive, SpatialCase::boolean}) {
                    SpatialCase c;
                    c.n_q = 133, c.n_k = n_k, c.d = 1, c.d_v = d_v, c.lse = lse, c.mask = mask;
                    const SpatialTensors t = make_tensors(c);
                    CountingAllocator allocator;
                    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                    EXPECT_EQ(allocator.allocations, 1) << testing::PrintToString(c);
                }
            }
        }
    }
}

TEST_P(MemoryOfCalls, ChannelTasksAllocateNothing) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const auto s = channel_schedule(GetParam());
    for (const int64_t d :
         around({2, s.lanes, s.column_group, s.block_rows(), s.tile_rows(), 2 * s.tile_rows(), 1023})) {
        for (const int64_t n : around({1, s.token_unroll, s.chunk_tokens, 2 * s.chunk_tokens})) {
            for (const bool normalize : {false, true}) {
                if (n * d * d < 20'000'000) {
                    ChannelCase c;
                    c.n = n, c.d = d, c.normalize = normalize;
                    CountingAllocator allocator;
                    ASSERT_EQ(run(c, make_tensors(c)), MUATTN_OK) << muattn_last_error();
                    EXPECT_EQ(allocator.allocations, 1) << testing::PrintToString(c);
                }
            }
        }
    }
}

// Memory of the tasks, and what is kept from one parallel step to the next.
TEST_P(MemoryOfCalls, ChannelsFirstTasksAllocateNothing) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const auto s = channel_first_schedule(GetParam());
    std::vector<int64_t> sizes = around({s.tile_rows(), s.tile_rows() + s.lanes, 2 * s.tile_rows(), 1023});
    const std::vector<int64_t> small = up_to(s.tile_rows());
    sizes.insert(sizes.end(), small.begin(), small.end());
    for (const int64_t d : sizes) {
        for (const int64_t n : {int64_t(1), int64_t(s.chunk_tokens) + 1}) {
            for (const bool normalize : {false, true}) {
                if (n * d * d < 20'000'000) {
                    ChannelCase c;
                    c.n = n, c.d = d, c.normalize = normalize, c.channels = MUATTN_CHANNELS_FIRST;
                    CountingAllocator allocator;
                    ASSERT_EQ(run(c, make_tensors(c)), MUATTN_OK) << muattn_last_error();
                    EXPECT_EQ(allocator.allocations, 2) << testing::PrintToString(c);
                }
            }
        }
    }
}

TEST_P(MemoryOfCalls, ScratchDoesNotGrowWithTokens) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    auto bytes_of = [](const auto &c) {
        muattn_release_memory();
        EXPECT_EQ(muattn_scratch_bytes(), 0u);
        EXPECT_EQ(run(c, make_tensors(c)), MUATTN_OK) << muattn_last_error();
        return muattn_scratch_bytes();
    };
    SpatialCase spatial;
    spatial.d = spatial.d_v = 8;
    ChannelCase channel;
    channel.d = 8;
    std::vector<size_t> spatial_bytes, channel_bytes;
    for (const int64_t n : {1000, 4000}) {
        spatial.n_q = spatial.n_k = channel.n = n;
        spatial_bytes.push_back(bytes_of(spatial));
        channel_bytes.push_back(bytes_of(channel));
    }
    EXPECT_GT(spatial_bytes[0], 0u);
    EXPECT_EQ(spatial_bytes[0], spatial_bytes[1]);
    EXPECT_EQ(channel_bytes[0], channel_bytes[1]);
}

TEST_P(MemoryOfCalls, ChangingTheAllocatorGivesEverythingBack) {
    CountingAllocator allocator;
    expect_agrees(large_channel(GetParam()));
    EXPECT_FALSE(allocator.live.empty());
    EXPECT_EQ(muattn_set_allocator(nullptr, nullptr, nullptr), MUATTN_OK);
    EXPECT_TRUE(allocator.live.empty());
    EXPECT_EQ(muattn_scratch_bytes(), 0u);
}

}  // namespace
}  // namespace muattn::test
