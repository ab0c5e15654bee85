// The same bits for any number of threads, from run to run, from concurrent callers and on the caller's own thread pool.
#include <atomic>
#include <cstring>
#include <thread>

#include "support/backends.h"
#include "support/cases.h"
#include "support/channel_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

bool same_bits(const std::vector<float> &a, const std::vector<float> &b) {
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class Threads : public OnEveryBackend {
protected:
    // Several tiles per head, ragged at the end, and costs that differ from task to task.
    void SetUp() override {
        OnEveryBackend::SetUp();
        if (IsSkipped()) {
            return;
        }
        spatial.B = 2, spatial.H = 3, spatial.Hk = 1, spatial.n_q = 2 * spatial_schedule(GetParam()).tile_rows() + 5,
        spatial.n_k = 300;
        spatial.d = 20, spatial.d_v = 17;
        spatial.causal = MUATTN_CAUSAL_TOP_LEFT;
        spatial.key_lengths = {300, 77};
        channel.B = 2, channel.H = 3, channel.n = 150, channel.d = channel_schedule(GetParam()).tile_rows() + 9;
        spatial_tensors = make_tensors(spatial);
        channel_tensors = make_tensors(channel);
    }

    // out, lse and the channel output, one after the other.
    std::vector<float> results() const {
        spatial_tensors.out.fill(untouched());
        spatial_tensors.lse.fill(untouched());
        channel_tensors.out.fill(untouched());
        EXPECT_EQ(run(spatial, spatial_tensors), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(run(channel, channel_tensors), MUATTN_OK) << muattn_last_error();
        std::vector<float> all = spatial_tensors.out.elements();
        for (const Tensor *t : {&spatial_tensors.lse, &channel_tensors.out}) {
            const std::vector<float> more = t->elements();
            all.insert(all.end(), more.begin(), more.end());
        }
        return all;
    }

    std::vector<float> results_of_one_thread() const {
        EXPECT_EQ(muattn_set_num_threads(1), MUATTN_OK);
        return results();
    }

    SpatialCase spatial;
    ChannelCase channel;
    SpatialTensors spatial_tensors;
    ChannelTensors channel_tensors;
};
MUATTN_ON_EVERY_BACKEND(Threads);

TEST_P(Threads, AgreeWithTheReference) {
    ASSERT_EQ(muattn_set_num_threads(7), MUATTN_OK);
    expect_agrees(spatial, spatial_tensors);
    expect_agrees(channel, channel_tensors);
}

TEST_P(Threads, SameBitsForAnyNumber) {
    const std::vector<float> expected = results_of_one_thread();
    for (const int threads : {2, 7, 1, 3}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        EXPECT_TRUE(same_bits(results(), expected)) << threads << " threads";
    }
}

TEST_P(Threads, SameBitsFromRunToRun) {
    const std::vector<float> expected = results_of_one_thread();
    ASSERT_EQ(muattn_set_num_threads(2), MUATTN_OK);
    for (int i = 0; i < 20; i++) {
        EXPECT_TRUE(same_bits(results(), expected)) << "run " << i;
    }
}

TEST_P(Threads, SameBitsFromConcurrentCallers) {
    const std::vector<float> expected = results_of_one_thread();
    for (const int threads : {1, 2, 7}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        std::atomic<int> wrong{0};
        std::vector<std::thread> callers;
        for (int caller = 0; caller < 4; caller++) {
            callers.emplace_back([&] {
                // Tensors of its own, and its own order of calls.
                const SpatialTensors s = make_tensors(spatial);
                const ChannelTensors c = make_tensors(channel);
                for (int i = 0; i < 5; i++) {
                    wrong += run(spatial, s) != MUATTN_OK;
                    wrong += run(channel, c) != MUATTN_OK;
                    const std::vector<float> out = s.out.elements();
                    wrong += memcmp(out.data(), expected.data(), out.size() * sizeof(float)) != 0;
                    const std::vector<float> channel_out = c.out.elements();
                    wrong += memcmp(channel_out.data(), &*(expected.end() - int64_t(channel_out.size())),
                                    channel_out.size() * sizeof(float)) != 0;
                }
            });
        }
        for (std::thread &caller : callers) {
            caller.join();
        }
        EXPECT_EQ(wrong, 0) << threads << " threads";
    }
}

// Spans of tokens, tiles of rows and of tokens; few heads, which share their loops, and many, which stay with a thread each.
TEST_P(Threads, SameBitsOfChannelGradients) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "gradients are for processors";
    }
    const int64_t sizes[][4] = {{1, 1, 2500, 20}, {1, 2, 130, 150}, {4, 16, 60, 9}};
    for (const auto &[B, H, n, d] : sizes) {
        for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
            for (const auto way : {ChannelGradientCase::whole, ChannelGradientCase::halves}) {
                ChannelGradientCase c;
                c.B = B, c.H = H, c.n = n, c.d = d, c.channels = channels, c.way = way;
                c.normalize = true, c.scale = {3.0f};
                const ChannelGradientTensors t = make_tensors(c);
                const auto results_with = [&](int threads) {
                    EXPECT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
                    t.reset();
                    EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
                    std::vector<float> all = *t.d_scale;
                    all.push_back(t.d_output_multiplier->front());
                    for (const Tensor *gradient : t.outputs()) {
                        const std::vector<float> more = gradient->elements();
                        all.insert(all.end(), more.begin(), more.end());
                    }
                    return all;
                };
                const std::vector<float> expected = results_with(1);
                for (const int threads : {2, 7, 3}) {
                    EXPECT_TRUE(same_bits(results_with(threads), expected))
                        << threads << " threads, " << testing::PrintToString(c);
                }
            }
        }
    }
}

// A pool of the caller's: counts the tasks it is given.
struct Pool {
    std::atomic<int> tasks{0};

    static void backwards(void *user, int count, muattn_task task, void *context) {
        for (int i = count - 1; i >= 0; i--) {
            static_cast<Pool *>(user)->tasks++;
            task(context, i);
        }
    }

    // Five threads take every fifth index: more than muattn_get_num_threads() below.
    static void five_threads(void *user, int count, muattn_task task, void *context) {
        std::vector<std::thread> threads;
        for (int first = 0; first < 5; first++) {
            threads.emplace_back([=] {
                for (int i = first; i < count; i += 5) {
                    static_cast<Pool *>(user)->tasks++;
                    task(context, i);
                }
            });
        }
        for (std::thread &thread : threads) {
            thread.join();
        }
    }
};

TEST_P(Threads, SameBitsOnTheCallersPool) {
    const std::vector<float> expected = results_of_one_thread();
    for (const int threads : {2, 7}) {
        for (const muattn_parallel_for parallel_for : {Pool::backwards, Pool::five_threads}) {
            Pool pool;
            ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
            muattn_set_parallel_for(parallel_for, &pool);
            EXPECT_TRUE(same_bits(results(), expected));
            // A task is a tile of a head: at least one for each of 2 x 6.
            EXPECT_GE(pool.tasks, 12);
            muattn_set_parallel_for(nullptr, nullptr);
            const int before = pool.tasks;
            EXPECT_TRUE(same_bits(results(), expected));
            EXPECT_EQ(pool.tasks, before);
        }
    }
}

}  // namespace
}  // namespace muattn::test
