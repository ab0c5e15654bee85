// Few keys and channel attention read no scratch memory that was not written, not even where the result is thrown away: a number
// below 2^-126 there costs an Intel processor a hundred cycles each time. Signalling NaN tell: whoever computes with one
// raises FE_INVALID.
#include <cfenv>

#include "support/backends.h"
#include "support/cases.h"
#include "support/channel_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class ScratchReads : public OnEveryBackend {
protected:
    void SetUp() override {
        OnEveryBackend::SetUp();
        ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);  // the flags are this thread's
        muattn_set_scratch_poison(1);
    }
};
MUATTN_ON_EVERY_BACKEND(ScratchReads);

TEST_P(ScratchReads, FewKeys) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "scratch memory of the processor";
    }
    // Rows, keys and columns past the last register tile and the last vector.
    const int64_t sizes[][3] = {{197, 197, 64}, {49, 49, 32}, {128, 128, 32}, {30, 17, 8},
                                {100, 33, 24},  {80, 80, 80}, {112, 112, 16}};
    for (const auto &[n_q, n_k, d] : sizes) {
        for (const SpatialCase::Mask mask : {SpatialCase::no_mask, SpatialCase::additive, SpatialCase::boolean}) {
            SpatialCase c;
            c.H = c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = c.d_v = d;
            c.mask = mask;
            c.lse = false;
            const SpatialTensors t = make_tensors(c);
            feclearexcept(FE_ALL_EXCEPT);
            ASSERT_EQ(run(c, t), MUATTN_OK);
            EXPECT_FALSE(fetestexcept(FE_INVALID)) << c << muattn_last_kernel();
        }
    }
}

TEST_P(ScratchReads, Channel) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "scratch memory of the processor";
    }
    for (const auto &s : channel_schedules(GetParam())) {
        for (const int64_t d : {int64_t(s.lanes), int64_t(2 * s.block_rows() - s.lanes), int64_t(s.block_rows() + 1),
                                int64_t(s.tile_rows() + s.lanes)}) {
            for (const bool normalize : {false, true}) {
                ChannelCase c;
                c.n = s.chunk_tokens + 1, c.d = d, c.normalize = normalize;
                const ChannelTensors t = make_tensors(c);
                feclearexcept(FE_ALL_EXCEPT);
                ASSERT_EQ(run(c, t), MUATTN_OK);
                EXPECT_FALSE(fetestexcept(FE_INVALID)) << c << muattn_last_kernel();
            }
        }
    }
}

TEST_P(ScratchReads, ChannelGradients) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "scratch memory of the processor";
    }
    const auto s = map_schedules(GetParam()).front();
    for (const int64_t d : {3, s.lanes, 2 * s.block() - s.lanes, s.block() + 1, int(s.tile()) + s.lanes}) {
        for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
            for (const auto way : {ChannelGradientCase::whole, ChannelGradientCase::halves}) {
                ChannelGradientCase c;
                c.n = s.chunk_tokens + 1, c.d = d, c.normalize = true, c.channels = channels, c.way = way;
                const ChannelGradientTensors t = make_tensors(c);
                for (const Tensor *output : {&t.map, &t.d_attention_map, &t.q_squares, &t.k_squares}) {
                    output->fill(0);
                }
                feclearexcept(FE_ALL_EXCEPT);
                ASSERT_EQ(run(c, t), MUATTN_OK);
                EXPECT_FALSE(fetestexcept(FE_INVALID)) << c << muattn_last_kernel();
            }
        }
    }
}

}  // namespace
}  // namespace muattn::test
