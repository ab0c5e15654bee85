// Keys and values in int8, with a scale for each row.
#include <cmath>
#include <limits>
#include <random>
#include <string>

#include "reference/spatial_forward.h"
#include "support/backends.h"
#include "support/cases.h"
#include "support/compare.h"
#include "support/pairwise.h"
#include "support/sixteen_bits.h"
#include "support/spatial_choices.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class SpatialInt8 : public OnEveryProcessor {};
MUATTN_ON_EVERY_BACKEND(SpatialInt8);

// Keys and values of a case as a cache has them: each row divided by its scale, which makes its largest number 127.
struct Cache {
    std::vector<int8_t> numbers;
    Tensor scale;
    Shape shape;

    explicit Cache(const Tensor &floats)
        : scale({floats.size(0), floats.size(1), floats.size(2), 1}, padded()), shape(floats.shape()) {
        for (int64_t b = 0; b < shape[0]; b++) {
            for (int64_t h = 0; h < shape[1]; h++) {
                for (int64_t j = 0; j < shape[2]; j++) {
                    float most = 0;
                    for (int64_t e = 0; e < shape[3]; e++) {
                        most = std::max(most, std::fabs(floats.at(b, h, j, e)));
                    }
                    scale.at(b, h, j, 0) = most / 127;
                    for (int64_t e = 0; e < shape[3]; e++) {
                        numbers.push_back(int8_t(std::lround(floats.at(b, h, j, e) / most * 127)));
                    }
                }
            }
        }
    }
    muattn_tensor view() const {
        muattn_tensor t{};
        t.data = const_cast<int8_t *>(numbers.data());
        t.dtype = MUATTN_INT8;
        std::copy(shape.begin(), shape.end(), t.shape);
        return t;
    }
};

struct Int8Call {
    const SpatialCase &c;
    const SpatialTensors &t;
    Cache k, v;
    muattn_tensor mask{}, k_scale, v_scale;
    muattn_spatial_options options;

    Int8Call(const SpatialCase &of, const SpatialTensors &tensors)
        : c(of),
          t(tensors),
          k(t.k),
          v(t.v),
          k_scale(k.scale.view()),
          v_scale(v.scale.view()),
          options(options_with_mask(c, t, mask)) {
        options.k_scale = &k_scale, options.v_scale = &v_scale;
    }
    Int8Call(const Int8Call &) = delete;

    muattn_status run(const Tensor &q, const Tensor &out) const {
        const muattn_tensor views[] = {q.view(), k.view(), v.view(), out.view(), t.lse.view()};
        return muattn_spatial_attention_forward(&views[0], &views[1], &views[2], &options, &views[3],
                                                c.lse ? &views[4] : nullptr);
    }
};

void expect_agrees_in_int8(const SpatialCase &c) {
    SCOPED_TRACE(testing::PrintToString(c));
    const SpatialTensors t = make_tensors(c);
    const Int8Call call(c, t);
    const auto rows = reference::spatial_attention_forward(t.q.view(), call.k.view(), call.v.view(), call.options);
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    EXPECT_NE(std::string(muattn_last_kernel()).find("/float32_int8/"), std::string::npos) << muattn_last_kernel();
    auto row = [&](int64_t b, int64_t h, int64_t i) -> const reference::SpatialRow & {
        return rows[size_t((b * c.H + h) * c.n_q + i)];
    };
    // A key's scale, and a value's, are one rounding more each.
    constexpr double kRounding = 0x1p-23;
    EXPECT_TRUE(agrees(t.out, [&](int64_t b, int64_t h, int64_t i, int64_t e) {
        const reference::SpatialRow &r = row(b, h, i);
        const double more = kRounding * (r.logit_size + 1) * r.value_size;
        return Expected{r.out[size_t(e)], allowed_output_error(r.logit_size, r.value_size, r.visible) + more};
    })) << "of out";
    if (c.lse) {
        EXPECT_TRUE(agrees(t.lse, [&](int64_t b, int64_t h, int64_t i, int64_t) {
            const reference::SpatialRow &r = row(b, h, i);
            return Expected{r.lse, allowed_lse_error(r.logit_size, r.visible) + kRounding * r.logit_size};
        })) << "of lse";
    }
    // Queries and output in 16 bits: the same on rounded queries, rounded.
    const SpatialTensors again = make_tensors(c);
    const Tensor q = again.q.narrowed(MUATTN_BFLOAT16), out = again.out.narrowed(MUATTN_BFLOAT16);
    ASSERT_EQ(call.run(again.q, t.out), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(call.run(q, out), MUATTN_OK) << muattn_last_error();
    const std::vector<float> floats = t.out.elements();
    const std::vector<uint16_t> bits = out.bits();
    for (size_t i = 0; i < bits.size(); i++) {
        ASSERT_EQ(bits[i], rounded_bits(MUATTN_BFLOAT16, floats[i])) << i;
    }
}

TEST_P(SpatialInt8, FeaturesInPairs) {
    const auto s = split_keys_schedule(GetParam());
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        expect_agrees_in_int8(spatial_case_of(row, 13, 13));
        expect_agrees_in_int8(spatial_case_of(row, 2, s.span_keys + 9));
    }
}

TEST_P(SpatialInt8, ManyQueries) {
    SpatialCase c;
    c.Hk = 2, c.H = 4, c.n_q = 150, c.n_k = 300, c.d = 33, c.d_v = 70;
    expect_agrees_in_int8(c);
    c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    expect_agrees_in_int8(c);
}

// As many as take a call by parts: heads come one after the other then.
TEST_P(SpatialInt8, QueriesThatAreTooManyAtOnce) {
    const auto s = split_keys_schedule(GetParam());
    SpatialCase c;
#ifdef __wasi__  // with as many keys node 20 ends with a signal, after the test has passed
    const int64_t spans = 5;
#else
    const int64_t spans = 20;
#endif
    c.B = 2, c.Hk = 2, c.H = 4, c.n_q = 100, c.n_k = spans * s.span_keys, c.d = 3, c.d_v = 128;
    const SpatialTensors t = make_tensors(c);
    const Int8Call call(c, t);
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    const std::vector<float> whole = t.out.elements();
    for (int64_t b = 0; b < c.B; b++) {
        for (int64_t h = 0; h < c.Hk; h++) {
            muattn_tensor q = t.q.view(), k = call.k.view(), v = call.v.view(), out = t.out.view();
            muattn_tensor k_scale = call.k_scale, v_scale = call.v_scale;
            const int64_t group = c.H / c.Hk;
            q.data = &t.q.at(b, h * group, 0, 0), out.data = &t.out.at(b, h * group, 0, 0);
            k.data = const_cast<int8_t *>(call.k.numbers.data()) + (b * c.Hk + h) * c.n_k * c.d;
            v.data = const_cast<int8_t *>(call.v.numbers.data()) + (b * c.Hk + h) * c.n_k * c.d_v;
            k_scale.data = &call.k.scale.at(b, h, 0, 0), v_scale.data = &call.v.scale.at(b, h, 0, 0);
            q.shape[0] = k.shape[0] = v.shape[0] = out.shape[0] = k_scale.shape[0] = v_scale.shape[0] = 1;
            k.shape[1] = v.shape[1] = k_scale.shape[1] = v_scale.shape[1] = 1;
            q.shape[1] = out.shape[1] = group;
            muattn_spatial_options options = call.options;
            options.k_scale = &k_scale, options.v_scale = &v_scale;
            ASSERT_EQ(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, nullptr), MUATTN_OK)
                << muattn_last_error();
        }
    }
    EXPECT_EQ(t.out.elements(), whole);
}

TEST_P(SpatialInt8, HiddenScalesDoNotMatter) {
    SpatialCase c;
    c.Hk = 1, c.H = 2, c.n_q = 3, c.n_k = 40, c.d = 9, c.d_v = 12;
    c.mask = SpatialCase::boolean;
    c.key_lengths = {37};
    const SpatialTensors t = make_tensors(c);
    for (int64_t i = 0; i < c.n_q; i++) {
        for (int64_t h = 0; h < c.H; h++) {
            t.mask.at(0, h, i, 5) = 0;
        }
    }
    SpatialTensors hidden = t;
    const std::vector<float> mask = t.mask.elements();
    hidden.mask_bytes.assign(mask.begin(), mask.end());
    const Int8Call call(c, hidden);
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    const std::vector<float> want = t.out.elements();
    for (const int64_t j : {5, 37, 38, 39}) {
        call.k.scale.at(0, 0, j, 0) = std::nanf("");
        call.v.scale.at(0, 0, j, 0) = std::numeric_limits<float>::infinity();
    }
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(t.out.elements(), want);
    call.v.scale.at(0, 0, 6, 0) = std::nanf("");  // some queries see this one
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    const std::vector<float> got = t.out.elements();
    EXPECT_TRUE(std::any_of(got.begin(), got.end(), [](float x) { return std::isnan(x); }));
}

TEST_P(SpatialInt8, WithoutKeys) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 0, c.d = 4, c.d_v = 5;
    const SpatialTensors t = make_tensors(c);
    const Int8Call call(c, t);
    ASSERT_EQ(call.run(t.q, t.out), MUATTN_OK) << muattn_last_error();
    for (const float x : t.out.elements()) {
        EXPECT_EQ(x, 0);
    }
}

void expect_refused(muattn_status got, muattn_status want, const char *words) {
    EXPECT_EQ(got, want);
    EXPECT_NE(std::string(muattn_last_error()).find(words), std::string::npos) << muattn_last_error();
}

TEST_P(SpatialInt8, WhatIsRefused) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 4, c.d = 5, c.d_v = 6;
    const SpatialTensors t = make_tensors(c);
    Int8Call call(c, t);
    call.options.v_scale = nullptr;
    expect_refused(call.run(t.q, t.out), MUATTN_INVALID_V, "v_scale must be given where v is int8");
    call.options.v_scale = &call.v_scale;
    call.k_scale.shape[2] = 3;
    expect_refused(call.run(t.q, t.out), MUATTN_INVALID_K,
                   "k_scale.shape[2] (n_k) must equal that of k and v: 4, not 3");
    call.k_scale = call.k.scale.view();
    call.k_scale.shape[3] = 5;
    expect_refused(call.run(t.q, t.out), MUATTN_INVALID_K, "k_scale.shape[3] (one per row) must be: 1, not 5");
    call.k_scale = call.k.scale.view();
    const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view(), lse = t.lse.view(),
                        k_int8 = call.k.view(), v_int8 = call.v.view();
    const auto *options = &call.options;
    expect_refused(muattn_spatial_attention_forward(&q, &k, &v, options, &out, nullptr), MUATTN_INVALID_K,
                   "k_scale must be null: k is not int8");
    expect_refused(muattn_spatial_attention_forward(&q, &k_int8, &v, options, &out, nullptr), MUATTN_INVALID_V,
                   "v.dtype must be that of k: int8, not float32");
    expect_refused(muattn_spatial_attention_forward(&k_int8, &k_int8, &v_int8, options, &out, nullptr),
                   MUATTN_INVALID_Q, "q.dtype: int8 is not supported; it must be float32, float16 or bfloat16");
    const muattn_spatial_gradients none{};
    expect_refused(muattn_spatial_attention_backward(&q, &k_int8, &v_int8, &out, &lse, &out, nullptr, options, &none),
                   MUATTN_INVALID_K, "k.dtype: int8 is not supported; it must be float32, float16 or bfloat16");
    expect_refused(muattn_spatial_logit_stats(&q, &k_int8, options, &out), MUATTN_INVALID_K,
                   "k.dtype: int8 is not supported; it must be float32, float16 or bfloat16");
    EXPECT_TRUE(is_untouched(t.out.at(0, 0, 0, 0)));
    call.v_scale.data = t.out.view().data;
    expect_refused(call.run(t.q, t.out), MUATTN_INVALID_OUT, "out must not overlap v_scale");
}

}  // namespace
}  // namespace muattn::test
