// Channel attention in float16 and bfloat16: bit for bit what a call in float32 gives for the same numbers, rounded once.
#include "support/backends.h"
#include "support/channel_gradients.h"
#include "support/sixteen_bit_tensors.h"

namespace muattn::test {
namespace {

class ChannelSixteenBits : public OnEveryProcessor {};
MUATTN_ON_EVERY_BACKEND(ChannelSixteenBits);

void expect_rounded_result(const ChannelCase &c, muattn_dtype dtype) {
    SCOPED_TRACE(testing::PrintToString(c));
    const ChannelTensors wide = make_tensors(c), narrow = narrowed(wide, like(wide.out, c.layout), dtype);
    ASSERT_EQ(run(c, wide), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
    expect_rounded(narrow.out, wide.out, dtype, "out");
}

template<typename Use>
void for_each_channel_case(const Use &use) {
    for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (const bool normalize : {false, true}) {
            for (const auto &[n, d] : {std::pair<int64_t, int64_t>{1, 1}, {3, 17}, {50, 24}, {201, 33}}) {
                for (const Layout &layout : {token_major(), reversed()}) {
                    ChannelGradientCase c;
                    c.B = 2, c.H = 3, c.n = n, c.d = d;
                    c.channels = channels, c.layout = layout;
                    c.normalize = normalize;
                    c.scale = {0.5f, 2, 0.1f};
                    use(c);
                }
            }
        }
    }
}

TEST_P(ChannelSixteenBits, Forward) {
    for_each_channel_case([](const ChannelCase &c) {
        for (const muattn_dtype dtype : kSixteenBits) {
            expect_rounded_result(c, dtype);
        }
    });
}

TEST_P(ChannelSixteenBits, InParts) {
    for (const int threads : {1, 4}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
            for (const auto &[B, n] : {std::pair<int64_t, int64_t>{1, 5000}, {5, 600}, {40, 100}}) {
                ChannelCase c;
                c.B = B, c.H = 3, c.n = n, c.d = 31;
                c.channels = channels;
                expect_rounded_result(c, MUATTN_FLOAT16);
            }
        }
    }
}

TEST_P(ChannelSixteenBits, HalvesAndGradients) {
    for_each_channel_case([](ChannelGradientCase c) {
        for (const auto way :
             {ChannelGradientCase::whole, ChannelGradientCase::whole_with_map, ChannelGradientCase::halves}) {
            if (way == ChannelGradientCase::whole_with_map && c.normalize != 0) {
                continue;
            }
            c.way = way;
            SCOPED_TRACE(testing::PrintToString(c));
            for (const muattn_dtype dtype : kSixteenBits) {
                const ChannelGradientTensors wide = make_tensors(c);
                ChannelGradientTensors narrow = make_tensors(c);
                narrow.forward = narrowed(wide.forward, narrow.forward.out, dtype);
                narrow.d_out = wide.d_out.narrowed(dtype);
                narrow.d_q = narrow.d_q.narrowed(dtype), narrow.d_k = narrow.d_k.narrowed(dtype),
                narrow.d_v = narrow.d_v.narrowed(dtype);
                ASSERT_EQ(run_halves(c, wide), MUATTN_OK) << muattn_last_error();
                ASSERT_EQ(run_halves(c, narrow), MUATTN_OK) << muattn_last_error();
                expect_same(narrow.map, wide.map, "map");
                expect_same(narrow.attention_map, wide.attention_map, "attention_map");
                expect_rounded(narrow.forward.out, wide.forward.out, dtype, "out");
                ASSERT_EQ(run(c, wide), MUATTN_OK) << muattn_last_error();
                ASSERT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
                expect_rounded(narrow.d_q, wide.d_q, dtype, "d_q");
                expect_rounded(narrow.d_k, wide.d_k, dtype, "d_k");
                expect_rounded(narrow.d_v, wide.d_v, dtype, "d_v");
                EXPECT_EQ(*narrow.d_scale, *wide.d_scale);
                EXPECT_EQ(*narrow.d_output_multiplier, *wide.d_output_multiplier);
                if (testing::Test::HasFatalFailure()) {
                    return;
                }
            }
        }
    });
}

}  // namespace
}  // namespace muattn::test
