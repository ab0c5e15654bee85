// float16 and bfloat16: bit for bit what a call in float32 gives for the same numbers, rounded once.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>

#include "support/backends.h"
#include "support/logit_stats.h"
#include "support/pairwise.h"
#include "support/sixteen_bit_tensors.h"
#include "support/spatial_choices.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class SixteenBits : public OnEveryProcessor {};
MUATTN_ON_EVERY_BACKEND(SixteenBits);

#ifdef __aarch64__
constexpr bool kArm = true;
#else
constexpr bool kArm = false;
#endif

// LLVM 21 for ARM decides by the code around them which sums become an FMA: where float32 has a kernel with other features, as with a mask, or
// computes tanh, the last bit of float32 may differ.
bool is_exact(const SpatialCase &c) { return !kArm || (c.softcap == 0 && c.mask == SpatialCase::no_mask); }

void expect_close(const Tensor &got, const Tensor &want, double unit, const char *name) {
    const std::vector<float> a = got.elements(), b = want.elements();
    for (size_t i = 0; i < a.size(); i++) {
        const bool same = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
        ASSERT_TRUE(same || std::fabs(double(a[i]) - double(b[i])) <= unit * std::max(1.0, std::fabs(double(b[i]))))
            << name << " " << i << ": " << a[i] << ", not " << b[i];
    }
}

// The call's kernel, without types and backend.
std::string last_algorithm() {
    const std::string name = muattn_last_kernel();
    const size_t backend = name.rfind('/'), kernel = name.rfind('/', backend - 1);
    return name.substr(kernel + 1, name.find_first_of("+/", kernel + 1) - kernel - 1);
}

void expect_spatial(const SpatialCase &c, const SpatialTensors &t, muattn_dtype dtype, bool only_keys) {
    SCOPED_TRACE(testing::PrintToString(c));
    SpatialTensors narrow = t;
    narrow.k = t.k.narrowed(dtype), narrow.v = t.v.narrowed(dtype);
    narrow.out = like(t.out, c.layout);
    narrow.lse = like(t.lse, c.layout);
    if (!only_keys) {
        narrow.q = t.q.narrowed(dtype), narrow.out = narrow.out.narrowed(dtype);
    }
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    const std::string algorithm = last_algorithm();
    ASSERT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(last_algorithm(), algorithm);
    if (!is_exact(c)) {
        const double unit = only_keys ? 4e-6 : dtype == MUATTN_FLOAT16 ? 0x1p-10 : 0x1p-7;
        expect_close(only_keys ? narrow.out : narrow.out.widened(), t.out, unit, "out");
        return;
    }
    only_keys ? expect_same(narrow.out, t.out, "out") : expect_rounded(narrow.out, t.out, dtype, "out");
    if (c.lse) {
        expect_same(narrow.lse, t.lse, "lse");
    }
}

void expect_spatial(const SpatialCase &c) {
    for (const muattn_dtype dtype : kSixteenBits) {
        for (const bool only_keys : {false, true}) {
            expect_spatial(c, make_tensors(c), dtype, only_keys);
            if (testing::Test::HasFatalFailure()) {
                return;
            }
        }
    }
}

TEST_P(SixteenBits, SpatialFeaturesInPairs) {
    const auto s = spatial_schedule(GetParam());
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        for (const auto &[n_q, n_k] :
             {std::pair<int64_t, int64_t>{13, 13}, {5, 37}, {s.tile_rows() + 7, 29}, {19, s.chunk_keys + 9}}) {
            expect_spatial(spatial_case_of(row, n_q, n_k));
        }
    }
}

TEST_P(SixteenBits, SpatialAtRandom) {
    std::mt19937 random(11);
    for (int count = 0; count < 150; count++) {
        std::vector<int> row;
        for (const int choices : kSpatialChoices) {
            row.push_back(int(random() % unsigned(choices)));
        }
        expect_spatial(spatial_case_of(row, 1 + int64_t(random() % 60), 1 + int64_t(random() % 60)));
    }
}

// Calls of which float32 copies are made in several parts: of the queries, of heads, of batch entries.
TEST_P(SixteenBits, SpatialInParts) {
    for (const int threads : {1, 3}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        for (const auto &[B, n_q, n_k] :
             {std::array<int64_t, 3>{1, 9000, 30}, {3, 700, 40}, {40, 50, 60}, {3, 1500, 530}}) {
            SpatialCase c;
            c.B = B, c.Hk = 3, c.H = 6, c.n_q = n_q, c.n_k = n_k, c.d = 24, c.d_v = 17;
            c.scale = {0.1f, 0.2f, 0.3f, 0.4f, 0.5f, 0.6f};
            c.sink = {0, 1, -1, 2, -2, 0.5f};
            expect_spatial(c, make_tensors(c), MUATTN_FLOAT16, false);
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            c.mask = SpatialCase::additive;
            c.mask_full = {true, false, true, true};
            c.key_lengths.assign(size_t(B), n_k);
            c.key_lengths[size_t(B - 1)] = n_k / 2;
            c.lse = false;
            expect_spatial(c, make_tensors(c), MUATTN_BFLOAT16, false);
        }
    }
}

TEST_P(SixteenBits, SpatialNumbersThatAreNotNormal) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{1, 300}, {40, 40}, {40, 600}}) {
        for (const muattn_dtype dtype : kSixteenBits) {
            for (const float value : {kInfinity, -kInfinity, std::nanf(""), 6e-8f, -1e-5f, 1e-40f, 6.5e4f, 3e38f}) {
                SpatialCase c;
                c.n_q = n_q, c.n_k = n_k, c.d = 20, c.d_v = 18;
                c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
                const SpatialTensors t = make_tensors(c);
                t.v.at(0, 0, n_k - 1, 17) = value, t.v.at(0, 0, 2, 0) = value, t.v.at(0, 0, 3, 3) = -value;
                t.k.at(0, 0, n_k - 2, 1) = value;
                expect_spatial(c, t, dtype, false);
            }
        }
    }
}

// Rounded to nearest even, also where that is infinity, a subnormal number, or 0.
TEST_P(SixteenBits, OutputsAreRoundedOnce) {
    for (const muattn_dtype dtype : kSixteenBits) {
        for (const float multiplier : {1.0f, 1e5f, 1e38f, 1e-6f, 1e-9f, 1e-28f}) {
            SpatialCase c;
            c.n_q = 70, c.n_k = 45, c.d = 9, c.d_v = 33;
            c.output_multiplier = {multiplier};
            expect_spatial(c, make_tensors(c), dtype, false);
        }
    }
}

TEST_P(SixteenBits, SpatialGradients) {
    std::mt19937 random(5);
    for (int count = 0; count < 60; count++) {
        std::vector<int> row;
        for (const int choices : kSpatialChoices) {
            row.push_back(int(random() % unsigned(choices)));
        }
        SpatialBackwardCase c(spatial_case_of(row, 1 + int64_t(random() % 90), 1 + int64_t(random() % 90)));
        c.with_d_lse = count % 2 == 0, c.wants_scale = count % 3 != 0;
        c.wants_q = count % 7 != 0, c.wants_k = count % 5 != 0, c.wants_v = count % 11 != 0;
        SCOPED_TRACE(testing::PrintToString(c));
        for (const muattn_dtype dtype : kSixteenBits) {
            const bool only_keys = count % 4 == 3;
            const SpatialGradientTensors wide = make_gradient_tensors(c);
            SpatialGradientTensors narrow = make_gradient_tensors(c);
            narrow.inputs = wide.inputs;
            narrow.inputs.k = wide.inputs.k.narrowed(dtype), narrow.inputs.v = wide.inputs.v.narrowed(dtype);
            narrow.d_k = narrow.d_k.narrowed(dtype), narrow.d_v = narrow.d_v.narrowed(dtype);
            narrow.d_out = wide.d_out;
            if (!only_keys) {
                narrow.inputs.q = wide.inputs.q.narrowed(dtype), narrow.inputs.out = wide.inputs.out.narrowed(dtype);
                narrow.d_out = wide.d_out.narrowed(dtype), narrow.d_q = narrow.d_q.narrowed(dtype);
            }
            ASSERT_EQ(run(c, wide), MUATTN_OK) << muattn_last_error();
            ASSERT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
            if (c.wants_q) {
                only_keys ? expect_same(narrow.d_q, wide.d_q, "d_q")
                          : expect_rounded(narrow.d_q, wide.d_q, dtype, "d_q");
            }
            if (c.wants_k) {
                expect_rounded(narrow.d_k, wide.d_k, dtype, "d_k");
            }
            if (c.wants_v) {
                expect_rounded(narrow.d_v, wide.d_v, dtype, "d_v");
            }
            if (c.has_d_mask()) {
                expect_same(narrow.d_mask, wide.d_mask, "d_mask");
            }
            EXPECT_TRUE(!c.wants_scale || narrow.d_scale == wide.d_scale);
            EXPECT_TRUE(!c.has_d_sink() || narrow.d_sink == wide.d_sink);
            EXPECT_TRUE(!c.has_d_output_multiplier() || narrow.d_output_multiplier == wide.d_output_multiplier);
            if (testing::Test::HasFatalFailure()) {
                return;
            }
        }
    }
}

// More queries than one stripe: d_k and d_v are added up over stripes.
TEST_P(SixteenBits, SpatialGradientsOfManyQueries) {
    SpatialBackwardCase c;
    c.B = 1, c.Hk = 1, c.H = 16, c.n_q = 1100, c.n_k = 70, c.d = 5, c.d_v = 6;
    c.causal = MUATTN_CAUSAL_TOP_LEFT;
    for (const bool wants_scale : {false, true}) {
        c.wants_scale = wants_scale;
        const SpatialGradientTensors wide = make_gradient_tensors(c);
        SpatialGradientTensors narrow = make_gradient_tensors(c);
        narrow.inputs = wide.inputs;
        const muattn_dtype dtype = MUATTN_BFLOAT16;
        narrow.inputs.q = wide.inputs.q.narrowed(dtype), narrow.inputs.k = wide.inputs.k.narrowed(dtype);
        narrow.inputs.v = wide.inputs.v.narrowed(dtype), narrow.inputs.out = wide.inputs.out.narrowed(dtype);
        narrow.d_out = wide.d_out.narrowed(dtype), narrow.d_q = narrow.d_q.narrowed(dtype);
        narrow.d_k = narrow.d_k.narrowed(dtype), narrow.d_v = narrow.d_v.narrowed(dtype);
        ASSERT_EQ(run(c, wide), MUATTN_OK) << muattn_last_error();
        for (const int threads : {1, 3}) {
            ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
            ASSERT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
            expect_rounded(narrow.d_q, wide.d_q, dtype, "d_q");
            expect_rounded(narrow.d_k, wide.d_k, dtype, "d_k");
            expect_rounded(narrow.d_v, wide.d_v, dtype, "d_v");
        }
    }
}

TEST_P(SixteenBits, Merge) {
    const Shape shape{2, 3, 7, 21}, rows{2, 3, 7, 1};
    for (const muattn_dtype dtype : kSixteenBits) {
        const Tensor a(shape, dense()), b(shape, padded()), out(shape, dense()), lse_a(rows, dense()),
            lse_b(rows, dense()), lse(rows, dense()), narrow_lse(rows, dense());
        a.fill_normal(1), b.fill_normal(2), lse_a.fill_normal(3), lse_b.fill_normal(4);
        lse_a.at(0, 0, 1, 0) = lse_b.at(0, 0, 2, 0) = -kInfinity;
        const Tensor narrow_a = a.narrowed(dtype), narrow_b = b.narrowed(dtype), narrow_out = out.narrowed(dtype);
        const auto merge = [&](const Tensor &x, const Tensor &y, const Tensor &z, const Tensor &lse_z) {
            const muattn_tensor v[] = {x.view(), lse_a.view(), y.view(), lse_b.view(), z.view(), lse_z.view()};
            return muattn_merge(&v[0], &v[1], &v[2], &v[3], &v[4], &v[5]);
        };
        ASSERT_EQ(merge(a, b, out, lse), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(merge(narrow_a, narrow_b, narrow_out, narrow_lse), MUATTN_OK) << muattn_last_error();
        expect_rounded(narrow_out, out, dtype, "out");
        expect_same(narrow_lse, lse, "lse");
        EXPECT_EQ(merge(narrow_a, b, narrow_out, lse), MUATTN_INVALID_OUT);
        EXPECT_EQ(merge(narrow_a, narrow_b, out, lse), MUATTN_INVALID_OUT);
    }
}

TEST_P(SixteenBits, LogitStats) {
    for (const muattn_dtype dtype : kSixteenBits) {
        SpatialCase c;
        c.B = 2, c.Hk = 2, c.H = 4, c.n_q = 60, c.n_k = 83, c.d = 19;
        c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        const SpatialTensors wide = make_tensors(c);
        SpatialTensors narrow = wide;
        narrow.q = wide.q.narrowed(dtype), narrow.k = wide.k.narrowed(dtype);
        const Tensor want = make_stats(c.B, c.H, c.layout), got = make_stats(c.B, c.H, c.layout);
        ASSERT_EQ(run_stats(c, wide, want), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(run_stats(c, narrow, got), MUATTN_OK) << muattn_last_error();
        expect_same(got, want, "stats");
        ChannelCase channel;
        channel.B = 2, channel.H = 3, channel.n = 90, channel.d = 20;
        channel.normalize = 1;
        const ChannelTensors tokens = make_tensors(channel);
        const Tensor of_floats = make_stats(2, 3, channel.layout), of_bits = make_stats(2, 3, channel.layout);
        const ChannelTensors narrow_tokens = narrowed(tokens, tokens.out, dtype);
        ASSERT_EQ(run_stats(channel, tokens, of_floats), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(run_stats(channel, narrow_tokens, of_bits), MUATTN_OK) << muattn_last_error();
        expect_same(of_bits, of_floats, "stats");
    }
}

muattn_status run_with(const SpatialTensors &t, muattn_dtype q, muattn_dtype k, muattn_dtype v, muattn_dtype out) {
    muattn_tensor views[] = {t.q.view(), t.k.view(), t.v.view(), t.out.view()};
    views[0].dtype = q, views[1].dtype = k, views[2].dtype = v, views[3].dtype = out;
    return muattn_spatial_attention_forward(&views[0], &views[1], &views[2], nullptr, &views[3], nullptr);
}

class SixteenBitsOnGpus : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SixteenBitsOnGpus);

TEST_P(SixteenBitsOnGpus, AreRefused) {
    if (!is_gpu(GetParam())) {
        GTEST_SKIP() << "processors take them";
    }
    const SpatialTensors t = make_tensors(SpatialCase());
    EXPECT_EQ(run_with(t, MUATTN_FLOAT16, MUATTN_FLOAT16, MUATTN_FLOAT16, MUATTN_FLOAT16), MUATTN_UNSUPPORTED);
    EXPECT_STREQ(muattn_last_error(), "q.dtype: GPUs compute with float32 alone, not with float16");
    EXPECT_EQ(run_with(t, MUATTN_FLOAT32, MUATTN_BFLOAT16, MUATTN_BFLOAT16, MUATTN_FLOAT32), MUATTN_UNSUPPORTED);
    EXPECT_STREQ(muattn_last_error(), "k.dtype: GPUs compute with float32 alone, not with bfloat16");
    const ChannelTensors tokens = make_tensors(ChannelCase());
    muattn_tensor q = tokens.q.view(), out = tokens.out.view();
    q.dtype = out.dtype = MUATTN_FLOAT16;
    EXPECT_EQ(muattn_channel_attention_forward(&q, &q, &q, nullptr, &out), MUATTN_UNSUPPORTED);
    EXPECT_STREQ(muattn_last_error(), "q.dtype: GPUs compute with float32 alone, not with float16");
}

TEST_P(SixteenBits, TypesThatAreRefused) {
    constexpr muattn_dtype kFloat = MUATTN_FLOAT32, kHalf = MUATTN_FLOAT16, kBrain = MUATTN_BFLOAT16;
    SpatialCase c;
    c.n_q = 3, c.n_k = 4, c.d = 4, c.d_v = 4;
    const SpatialTensors t = make_tensors(c);
    const auto expect = [&](muattn_status got, muattn_status want, const char *words) {
        EXPECT_EQ(got, want);
        EXPECT_NE(std::string(muattn_last_error()).find(words), std::string::npos) << muattn_last_error();
    };
    expect(run_with(t, kBrain, kHalf, kHalf, kBrain), MUATTN_INVALID_K,
           "k.dtype must be that of q, bfloat16, or int8, not float16");
    expect(run_with(t, kHalf, kFloat, kFloat, kHalf), MUATTN_INVALID_K, "k.dtype must be that of q, float16, or int8");
    expect(run_with(t, kFloat, kHalf, kBrain, kFloat), MUATTN_INVALID_V, "v.dtype must be that of k: float16");
    expect(run_with(t, kFloat, kHalf, kHalf, kHalf), MUATTN_INVALID_OUT, "out.dtype must be that of q: float32");
    expect(run_with(t, MUATTN_BOOL, kHalf, kHalf, kHalf), MUATTN_INVALID_Q, "q.dtype: bool is not supported");
    expect(run_with(t, MUATTN_INT8, kHalf, kHalf, kHalf), MUATTN_INVALID_Q, "it must be float32, float16 or bfloat16");
    const ChannelTensors tokens = make_tensors(ChannelCase());
    muattn_tensor q = tokens.q.view(), v = tokens.v.view(), out = tokens.out.view();
    v.dtype = kHalf;
    expect(muattn_channel_attention_forward(&q, &q, &v, nullptr, &out), MUATTN_INVALID_V, "v.dtype must be that of q");
    EXPECT_TRUE(is_untouched(t.out.at(0, 0, 0, 0)));
}

}  // namespace
}  // namespace muattn::test
