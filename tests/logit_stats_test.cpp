// Statistics of the logits of both operations, against the reference.
#include <cmath>
#include <limits>

#include "schedules/spatial_attention/logit_stats_numbers.h"
#include "support/backends.h"
#include "support/logit_stats.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity(), kNaN = std::numeric_limits<float>::quiet_NaN();

class LogitStats : public OnEveryBackend {
protected:
    void SetUp() override {
        OnEveryBackend::SetUp();
        if (is_gpu(GetParam())) {
            GTEST_SKIP() << "statistics are for processors";
        }
    }
};
MUATTN_ON_EVERY_BACKEND(LogitStats);

SpatialCase small_case() {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 13, c.n_k = 21, c.d = 10;
    return c;
}

TEST_P(LogitStats, EverySmallSize) {
    for (const int64_t n_q : {1, 2, 5, 17}) {
        for (const int64_t n_k : {1, 3, 8, 19}) {
            for (const int64_t d : {1, 4, 7, 16, 33}) {
                SpatialCase c;
                c.n_q = n_q, c.n_k = n_k, c.d = d;
                expect_stats_agree(c);
            }
        }
    }
}

TEST_P(LogitStats, AroundTilesAndChunks) {
    const auto s = logit_stats_schedule(GetParam());
    for (const int64_t n_q : {s.block_rows(), s.block_rows() + 1, s.tile_rows(), s.tile_rows() + 1}) {
        for (const int64_t n_k :
             {s.key_unroll + 1, s.chunk_keys - 1, s.chunk_keys, s.chunk_keys + 1, 2 * s.chunk_keys + 3}) {
            for (const muattn_causal causal : {MUATTN_CAUSAL_NONE, MUATTN_CAUSAL_TOP_LEFT}) {
                SpatialCase c;
                c.n_q = n_q, c.n_k = n_k, c.d = 5, c.causal = causal;
                expect_stats_agree(c);
            }
        }
    }
}

TEST_P(LogitStats, EveryOption) {
    const auto check = [](const auto &change) {
        SpatialCase c = small_case();
        change(c);
        for (const auto mask : {SpatialCase::no_mask, SpatialCase::additive, SpatialCase::boolean}) {
            c.mask = mask;
            expect_stats_agree(c);
            c.softcap = 1.5f;
            expect_stats_agree(c);
            c.softcap = 0;
        }
    };
    check([](SpatialCase &) {});
    for (const muattn_causal causal : {MUATTN_CAUSAL_TOP_LEFT, MUATTN_CAUSAL_BOTTOM_RIGHT}) {
        check([&](SpatialCase &c) { c.causal = causal; });
    }
    check([](SpatialCase &c) { c.causal = MUATTN_CAUSAL_OFFSET, c.causal_offsets = {3, -5}; });
    check([](SpatialCase &c) { c.window = {1, 3, 2}; });
    check([](SpatialCase &c) { c.key_lengths = {20, 0}; });
    check([](SpatialCase &c) { c.key_lengths = {1, 7}, c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT; });
    check([](SpatialCase &c) { c.scale = {0.1f, -2.0f, 0.0f, 1e-3f}; });
    check([](SpatialCase &c) { c.scaling = MUATTN_SCALING_MUP, c.d_base = 4; });
    check([](SpatialCase &c) { c.mask_full = {false, true, false, true}; });
    check([](SpatialCase &c) { c.mask_full = {true, false, true, false}; });
    check([](SpatialCase &c) { c.mask_full = {false, false, false, false}; });
    check([](SpatialCase &c) { c.amplitude = 30; });
    for (const Layout &layout : {token_major(), batch_inside(), padded(), reversed(), repeated()}) {
        check([&](SpatialCase &c) { c.layout = layout; });
    }
}

TEST_P(LogitStats, MaskAndSinkAreNotInTheLogits) {
    SpatialCase c = small_case();
    const SpatialTensors t = make_tensors(c);
    const Tensor plain = make_stats(c.B, c.H, dense()), other = make_stats(c.B, c.H, dense());
    ASSERT_EQ(run_stats(c, t, plain), MUATTN_OK);
    SpatialCase with_mask = c;
    with_mask.mask = SpatialCase::additive, with_mask.sink = {1, 2, 3, 4};
    SpatialTensors masked = make_tensors(with_mask);
    masked.mask.fill(-5);  // hides nothing
    masked.q = t.q, masked.k = t.k;
    ASSERT_EQ(run_stats(with_mask, masked, other), MUATTN_OK);
    EXPECT_EQ(plain.elements(), other.elements());
}

TEST_P(LogitStats, AreWhatTheirNamesSay) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 8, c.d = 4;
    const SpatialTensors t = make_tensors(c);
    const Tensor stats = make_stats(1, 1, dense());
    t.q.fill(0);
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    EXPECT_EQ(stats.at(0, 0, 0, 0), 0.0f);
    EXPECT_EQ(stats.at(0, 0, 0, 2), 0.0f);
    EXPECT_NEAR(stats.at(0, 0, 0, 3), std::log(8.0f), 1e-6f);
    t.q.fill(1);
    t.k.fill(0);
    for (int e = 0; e < 4; e++) {
        t.k.at(0, 0, 5, e) = -100;  // one logit of -200, all others 0
        t.k.at(0, 0, 6, e) = 100;   // one of 200
    }
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    EXPECT_NEAR(stats.at(0, 0, 0, 0), 50.0f, 1e-4f);
    EXPECT_NEAR(stats.at(0, 0, 0, 1), 100.0f, 1e-4f);
    EXPECT_NEAR(stats.at(0, 0, 0, 2), 200.0f, 1e-4f);
    EXPECT_NEAR(stats.at(0, 0, 0, 3), 0.0f, 1e-6f);
}

TEST_P(LogitStats, WithoutAnyVisibleKey) {
    SpatialCase c = small_case();
    c.key_lengths = {0, 3};
    const SpatialTensors t = make_tensors(c);
    const Tensor stats = make_stats(c.B, c.H, dense());
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    const float none[] = {0, 0, -kInf, 0};
    for (int e = 0; e < 4; e++) {
        EXPECT_EQ(stats.at(0, 1, 0, e), none[e]);
        EXPECT_TRUE(std::isfinite(stats.at(1, 1, 0, e)));
    }
    for (const auto &[n_q, n_k] : {std::pair{0, 5}, {5, 0}}) {
        SpatialCase empty = small_case();
        empty.n_q = n_q, empty.n_k = n_k;
        const SpatialTensors of_empty = make_tensors(empty);
        ASSERT_EQ(run_stats(empty, of_empty, stats), MUATTN_OK) << muattn_last_error();
        for (int e = 0; e < 4; e++) {
            EXPECT_EQ(stats.at(0, 1, 0, e), none[e]);
        }
    }
}

// NaN reaches the head that sees it; what nobody sees reaches nothing.
TEST_P(LogitStats, NaNAndInfinity) {
    SpatialCase c = small_case();
    c.causal = MUATTN_CAUSAL_TOP_LEFT;
    const SpatialTensors t = make_tensors(c);
    const Tensor before = make_stats(c.B, c.H, dense()), stats = make_stats(c.B, c.H, dense());
    ASSERT_EQ(run_stats(c, t, before), MUATTN_OK);
    t.k.at(0, 0, 20, 0) = kNaN;  // after the last query
    t.k.at(1, 1, 15, 3) = kInf;
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    EXPECT_EQ(before.elements(), stats.elements());
    t.k.at(0, 0, 12, 0) = kNaN;  // the last query alone sees it
    t.q.at(1, 3, 0, 0) = kNaN;
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    for (int64_t b = 0; b < c.B; b++) {
        for (int64_t h = 0; h < c.H; h++) {
            for (int e = 0; e < 4; e++) {
                const bool nan = (b == 0 && h < 2) || (b == 1 && h == 3);
                EXPECT_EQ(std::isnan(stats.at(b, h, 0, e)), nan) << b << h << e;
                EXPECT_TRUE(nan || stats.at(b, h, 0, e) == before.at(b, h, 0, e));
            }
        }
    }
}

// Logits that have no weight whatever the others are: 0 times infinity is nowhere.
TEST_P(LogitStats, AtTheEndsOfTheRange) {
    SpatialCase c;
    c.n_q = 1, c.d = 1, c.scale = {1.0f};
    const auto stats_of = [&](const std::vector<float> &logits) {
        c.n_k = int64_t(logits.size());
        const SpatialTensors t = make_tensors(c);
        t.q.fill(1);
        for (size_t j = 0; j < logits.size(); j++) {
            t.k.at(0, 0, int64_t(j), 0) = logits[j];
        }
        const Tensor stats = make_stats(1, 1, dense());
        EXPECT_EQ(run_stats(c, t, stats), MUATTN_OK) << muattn_last_error();
        return stats.elements();
    };
    const float entropy = std::log(1 + std::exp(1.0f)) - std::exp(1.0f) / (1 + std::exp(1.0f));
    EXPECT_NEAR(stats_of({-kInf, 0, 1})[3], entropy, 1e-5f);
    EXPECT_NEAR(stats_of({-1e38f, 0, 1})[3], entropy, 1e-5f);
    EXPECT_NEAR(stats_of({2e38f, 0, 1})[3], 0.0f, 1e-5f);
    std::vector<float> many(size_t(2 * logit_stats_schedule(GetParam()).chunk_keys), -1e38f);
    many.back() = 2e38f;  // a chunk before it is hidden as a whole
    EXPECT_NEAR(stats_of(many)[3], 0.0f, 1e-5f);
    many.back() = 1;
    EXPECT_NEAR(stats_of(many)[0], 1.0f, 1e-5f);
}

TEST_P(LogitStats, SameBitsForAnyNumberOfThreads) {
    const auto s = logit_stats_schedule(GetParam());
    SpatialCase c;
    c.B = 1, c.H = 2, c.Hk = 1, c.n_q = 5 * s.tile_rows() / 2, c.n_k = 300, c.d = 3, c.causal = MUATTN_CAUSAL_TOP_LEFT;
    ChannelCase channels;
    channels.H = 2, channels.n = 700, channels.d = 70, channels.normalize = 1, channels.scale = {3.0f};
    const SpatialTensors t = make_tensors(c);
    const ChannelTensors of_channels = make_tensors(channels);
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        const Tensor stats = make_stats(1, 2, dense()), channel_stats = make_stats(1, 2, dense());
        ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
        ASSERT_EQ(run_stats(channels, of_channels, channel_stats), MUATTN_OK);
        std::vector<float> both = stats.elements();
        for (const float x : channel_stats.elements()) {
            both.push_back(x);
        }
        if (first.empty()) {
            first = both;
        }
        EXPECT_EQ(first, both);
    }
}

TEST_P(LogitStats, OfChannels) {
    for (const muattn_layout layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (const int64_t d : {1, 3, 16, 17, 48, 65, 130}) {
            for (const int64_t n : {0, 1, 9, 150}) {
                ChannelCase c;
                c.B = 2, c.H = 2, c.n = n, c.d = d, c.channels = layout;
                expect_stats_agree(c);
                c.scale = {0.5f, -3.0f};
                c.normalize = 1;
                expect_stats_agree(c);
            }
        }
    }
    ChannelCase c;
    c.B = 2, c.H = 3, c.n = 33, c.d = 20;
    for (const Layout &layout : {token_major(), batch_inside(), padded(), reversed(), repeated()}) {
        c.layout = layout;
        expect_stats_agree(c);
    }
    c.tokens = 1000;
    expect_stats_agree(c);
    c.scaling = MUATTN_SCALING_MUP;  // whose output multiplier needs d_base: logits do not
    expect_stats_agree(c);
}

// All channels alike: every row of the map is flat.
TEST_P(LogitStats, OfChannelsThatAreAlike) {
    ChannelCase c;
    c.n = 12, c.d = 9;
    const ChannelTensors t = make_tensors(c);
    t.q.fill(1);
    t.k.fill(2);
    const Tensor stats = make_stats(1, 1, dense());
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    const float logit = 24 / std::sqrt(12.0f);
    for (int e = 0; e < 3; e++) {
        EXPECT_NEAR(stats.at(0, 0, 0, e), logit, 1e-5f);
    }
    EXPECT_NEAR(stats.at(0, 0, 0, 3), std::log(9.0f), 1e-5f);
    t.k.at(0, 0, 3, 4) = kNaN;
    ASSERT_EQ(run_stats(c, t, stats), MUATTN_OK);
    for (int e = 0; e < 4; e++) {
        EXPECT_TRUE(std::isnan(stats.at(0, 0, 0, e)));
    }
}

}  // namespace
}  // namespace muattn::test
