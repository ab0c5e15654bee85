// Sizes begin at 0: an empty batch, no query, no key yet, no token.
#include <limits>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

class EmptySizes : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(EmptySizes);

SpatialCase some_case() {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 3, c.n_k = 5, c.d = 6, c.d_v = 7;
    return c;
}

// An array without elements may have any pointer.
muattn_tensor of(const Shape &shape, float *data) {
    muattn_tensor t{};
    t.data = data;
    std::copy(shape.begin(), shape.end(), t.shape);
    return t;
}

TEST_P(EmptySizes, SpatialWithoutQueriesDoesNothing) {
    float one = 1;
    muattn_spatial_options options{};
    const int64_t lengths[] = {0, 0};
    options.key_lengths = lengths;
    options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    for (const Shape &shape : {Shape{0, 4, 3, 6}, Shape{2, 0, 3, 6}, Shape{2, 4, 0, 6}}) {
        const Shape keys{shape[0], shape[1] / 2, 0, 6};
        for (float *data : {static_cast<float *>(nullptr), &one}) {
            const muattn_tensor q = of(shape, data), k = of(keys, data),
                                lse = of({shape[0], shape[1], shape[2], 1}, data);
            EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &k, &options, &q, &lse), MUATTN_OK)
                << muattn_last_error();
            EXPECT_STREQ(muattn_last_kernel(), "");
            muattn_spatial_options wrong = options;
            wrong.d_base = -1;
            EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &k, &wrong, &q, &lse), MUATTN_INVALID_SCALING);
        }
    }
    EXPECT_EQ(one, 1);
}

// Output 0, lse -inf: also with options that say something of keys.
TEST_P(EmptySizes, SpatialWithoutKeysIsZero) {
    for (const int64_t n_q : {1, 3, 40}) {
        for (const bool lse : {true, false}) {
            SpatialCase c = some_case();
            c.n_q = n_q, c.n_k = 0, c.lse = lse;
            c.layout = token_major();
            expect_agrees(c);
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            c.window = {1, 2, 2};
            c.softcap = 2;
            expect_agrees(c);
            c.key_lengths = {0, 0};
            for (const SpatialCase::Mask mask : {SpatialCase::additive, SpatialCase::boolean}) {
                c.mask = mask;
                expect_agrees(c);
            }
        }
    }
}

TEST_P(EmptySizes, SpatialWithoutKeysNeedsNoPointer) {
    const SpatialCase c = some_case();
    const SpatialTensors t = make_tensors(c);
    const muattn_tensor q = t.q.view(), k = of({2, 2, 0, 6}, nullptr), v = of({2, 2, 0, 7}, nullptr),
                        out = t.out.view(), lse = t.lse.view();
    ASSERT_EQ(muattn_spatial_attention_forward(&q, &k, &v, nullptr, &out, &lse), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(t.out.elements(), std::vector<float>(size_t(c.B * c.H * c.n_q * c.d_v), 0.0f));
    EXPECT_EQ(t.lse.elements(), std::vector<float>(size_t(c.B * c.H * c.n_q), -std::numeric_limits<float>::infinity()));
}

TEST_P(EmptySizes, ChannelWithoutTokensDoesNothing) {
    float one = 1;
    for (const muattn_layout layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (Shape shape : {Shape{0, 4, 3, 6}, Shape{2, 0, 3, 6}, Shape{2, 4, 0, 6}}) {
            muattn_channel_options options{};
            options.layout = layout;
            if (layout == MUATTN_CHANNELS_FIRST) {
                std::swap(shape[2], shape[3]);
            }
            const muattn_tensor x = of(shape, &one);
            EXPECT_EQ(muattn_channel_attention_forward(&x, &x, &x, &options, &x), MUATTN_OK) << muattn_last_error();
            options.d_base = -1;
            EXPECT_EQ(muattn_channel_attention_forward(&x, &x, &x, &options, &x), MUATTN_INVALID_SCALING);
        }
    }
    EXPECT_EQ(one, 1);
}

// Without elements no product of the other sizes is too large.
TEST_P(EmptySizes, AnEmptyBatchOfLargeHeads) {
    const muattn_tensor x = of({0, 1 << 20, 1 << 12, 64}, nullptr);
    EXPECT_EQ(muattn_spatial_attention_forward(&x, &x, &x, nullptr, &x, nullptr), MUATTN_OK) << muattn_last_error();
}

TEST_P(EmptySizes, MergeOfNothing) {
    for (const Shape &shape : {Shape{0, 4, 3, 6}, Shape{2, 0, 3, 6}, Shape{2, 4, 0, 6}}) {
        const muattn_tensor out = of(shape, nullptr), lse = of({shape[0], shape[1], shape[2], 1}, nullptr);
        EXPECT_EQ(muattn_merge(&out, &lse, &out, &lse, &out, &lse), MUATTN_OK) << muattn_last_error();
    }
}

}  // namespace
}  // namespace muattn::test
