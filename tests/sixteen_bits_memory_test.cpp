// 16-bit calls and memory: nothing outside a tensor is touched, and where memory is short nothing is written.
#include <utility>
#include <vector>

#include "support/backends.h"
#include "support/channel_gradients.h"
#include "support/counting_allocator.h"
#include "support/sixteen_bit_tensors.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr muattn_dtype kDtype = MUATTN_BFLOAT16;

class SixteenBitsMemory : public OnEveryProcessor {};
MUATTN_ON_EVERY_BACKEND(SixteenBitsMemory);

SpatialTensors narrowed(const SpatialTensors &t, bool only_keys = false) {
    SpatialTensors narrow = t;
    narrow.k = t.k.narrowed(kDtype), narrow.v = t.v.narrowed(kDtype);
    if (!only_keys) {
        narrow.q = t.q.narrowed(kDtype), narrow.out = t.out.narrowed(kDtype);
    }
    return narrow;
}

TEST_P(SixteenBitsMemory, NothingOutsideIsRead) {
    const auto s = spatial_schedule(GetParam());
    for (const auto place : {Memory::Place::before_forbidden_page, Memory::Place::after_forbidden_page}) {
        for (const int64_t n_q : {int64_t(1), int64_t(3), int64_t(s.block_rows() + 1), int64_t(s.tile_rows() + 1)}) {
            for (const int64_t n_k : {int64_t(1), int64_t(5), int64_t(s.chunk_keys + 1)}) {
                for (const int64_t d : {1, 3, 17, 33}) {
                    SpatialCase c;
                    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = 34 - d;
                    SpatialTensors t;
                    t.q = Tensor({1, 1, n_q, d}, place);
                    t.k = Tensor({1, 1, n_k, d}, place);
                    t.v = Tensor({1, 1, n_k, c.d_v}, place);
                    t.out = Tensor({1, 1, n_q, c.d_v}, place);
                    t.lse = Tensor({1, 1, n_q, 1}, place);
                    t.q.fill_normal(1), t.k.fill_normal(2), t.v.fill_normal(3);
                    for (const bool only_keys : {false, true}) {
                        ASSERT_EQ(run(c, narrowed(t, only_keys)), MUATTN_OK) << muattn_last_error();
                        c.causal = only_keys ? MUATTN_CAUSAL_NONE : MUATTN_CAUSAL_TOP_LEFT;
                    }
                }
            }
        }
    }
}

TEST_P(SixteenBitsMemory, NothingOutsideTokensIsRead) {
    for (const auto place : {Memory::Place::before_forbidden_page, Memory::Place::after_forbidden_page}) {
        for (const auto &[n, d] :
             {std::pair<int64_t, int64_t>{1, 1}, {5, 17}, {33, 19}, {130, 40}, {129, 64}, {9, 100}}) {
            for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
                ChannelCase c;
                c.n = n, c.d = d;
                c.channels = channels;
                const Shape shape = channels == MUATTN_CHANNELS_LAST ? Shape{1, 1, n, d} : Shape{1, 1, d, n};
                ChannelTensors t;
                for (Tensor *tensor : {&t.q, &t.k, &t.v, &t.out}) {
                    Tensor floats(shape, place);
                    floats.fill_normal(1);
                    *tensor = floats.narrowed(kDtype);
                }
                ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
            }
        }
    }
}

// Whichever allocation fails, the call says so, writes nothing, leaks nothing, and the next call works.
template<typename Run>
void expect_clean_failures(const Run &run_once, const std::vector<Tensor> &outputs) {
    for (const int threads : {1, 2}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        int failures = 0;
        for (;; failures++) {
            muattn_release_memory();
            CountingAllocator allocator;
            allocator.fail_only = failures;
            std::vector<std::vector<uint16_t>> before;
            for (const Tensor &output : outputs) {
                before.push_back(output.bits());
            }
            const muattn_status status = run_once();
            if (status == MUATTN_OK) {
                break;
            }
            ASSERT_EQ(status, MUATTN_OUT_OF_MEMORY) << muattn_last_error();
            for (size_t i = 0; i < outputs.size(); i++) {
                EXPECT_EQ(outputs[i].bits(), before[i]) << "written in spite of failing allocation " << failures;
            }
            allocator.fail_only = -1;
            muattn_release_memory();
            EXPECT_TRUE(allocator.live.empty()) << "leaked by failing allocation " << failures;
            ASSERT_LT(failures, 100);
        }
        EXPECT_GE(failures, threads);
    }
}

TEST_P(SixteenBitsMemory, SpatialOutOfMemory) {
    SpatialCase c;
    c.B = 66, c.H = 2, c.Hk = 1, c.n_q = spatial_schedule(GetParam()).tile_rows() + 5, c.n_k = 9, c.d = 5, c.d_v = 3;
    const SpatialTensors t = narrowed(make_tensors(c));
    expect_clean_failures([&] { return run(c, t); }, {t.out});
    c.key_lengths.assign(size_t(c.B), 8);  // too many to be kept inline
    expect_clean_failures([&] { return run(c, t); }, {t.out});
}

TEST_P(SixteenBitsMemory, SpatialGradientsOutOfMemory) {
    SpatialBackwardCase c;
    c.B = 2, c.Hk = 1, c.H = 2, c.n_q = 40, c.n_k = 30, c.d = 5, c.d_v = 6;
    SpatialGradientTensors t = make_gradient_tensors(c);
    t.inputs = narrowed(t.inputs);
    for (Tensor *tensor : {&t.d_out, &t.d_q, &t.d_k, &t.d_v}) {
        *tensor = tensor->narrowed(kDtype);
    }
    expect_clean_failures([&] { return run(c, t); }, {t.d_q, t.d_k, t.d_v});
}

TEST_P(SixteenBitsMemory, ChannelOutOfMemory) {
    for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        ChannelGradientCase c;
        c.B = 2, c.H = 2, c.n = 50, c.d = 21;
        c.channels = channels;
        ChannelGradientTensors t = make_tensors(c);
        t.forward = narrowed(t.forward, t.forward.out, kDtype);
        for (Tensor *tensor : {&t.d_out, &t.d_q, &t.d_k, &t.d_v}) {
            *tensor = tensor->narrowed(kDtype);
        }
        const ChannelCase &forward = c;
        expect_clean_failures([&] { return run(forward, t.forward); }, {t.forward.out});
        expect_clean_failures([&] { return run(c, t); }, {t.d_q, t.d_k, t.d_v});
    }
}

// Copies are of parts of a call: queries do not change how much memory it takes.
TEST_P(SixteenBitsMemory, IsBounded) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    size_t most[2];
    for (const bool many : {false, true}) {
        SpatialCase c;
        c.B = 1, c.H = 2, c.Hk = 1, c.n_q = many ? 60000 : 20000, c.n_k = 30, c.d = 32, c.d_v = 32;
        const SpatialTensors t = narrowed(make_tensors(c));
        muattn_release_memory();
        CountingAllocator allocator;
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        most[many] = 0;
        for (const auto &[block, bytes] : allocator.live) {
            most[many] += bytes;
        }
        muattn_release_memory();
    }
    EXPECT_EQ(most[0], most[1]);
}

}  // namespace
}  // namespace muattn::test
