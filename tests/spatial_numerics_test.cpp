// Spatial attention: numbers at the ends of the range, and identities.
#include <cmath>
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/compare.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

SpatialCase some_case() {
    SpatialCase c;
    c.H = 2, c.Hk = 2, c.n_q = 33, c.n_k = 300, c.d = 16, c.d_v = 12;
    return c;
}

class SpatialNumerics : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialNumerics);

// Logits of size 1e4: the softmax is all but one-hot.
TEST_P(SpatialNumerics, LargeLogits) {
    SpatialCase c = some_case();
    for (const float scale : {10.0f, 1e3f, 1e4f, -1e4f}) {
        c.scale = {scale};
        expect_agrees(c);
        c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        expect_agrees(c);
    }
}

TEST_P(SpatialNumerics, LargeValues) {
    SpatialCase c = some_case();
    c.amplitude = 1e15;
    c.scale = {1e-30f};
    expect_agrees(c);
    const SpatialTensors t = make_tensors(c);
    t.v.fill_normal(3, 1e36);
    expect_agrees(c, t);
}

TEST_P(SpatialNumerics, SmallValues) {
    SpatialCase c = some_case();
    c.amplitude = 1e-18;
    c.scale = {1e36f};
    expect_agrees(c);
}

TEST_P(SpatialNumerics, DenormalInputs) {
    const SpatialCase c = some_case();
    for (const double amplitude : {1e-38, 1e-40, 1e-44}) {
        const SpatialTensors t = make_tensors(c);
        t.q.fill_normal(1, amplitude);
        expect_agrees(c, t);
        t.k.fill_normal(2, amplitude);
        expect_agrees(c, t);
        t.v.fill_normal(3, amplitude);
        expect_agrees(c, t);
    }
}

// The online softmax rescales what it has at each new maximum: logits that rise, fall, and jump at a chunk's edge.
TEST_P(SpatialNumerics, LogitsThatRiseAndFall) {
    const int64_t chunk = spatial_schedule(GetParam()).chunk_keys;
    SpatialCase c;
    c.n_q = 9, c.n_k = 3 * chunk + 1, c.d = 1, c.d_v = 5;
    c.scale = {1.0f};
    const auto key = [&](int shape, int64_t j) {
        switch (shape) {
        case 0: return 0.01 * double(j);
        case 1: return -0.01 * double(j);
        case 2: return j == chunk ? 200.0 : 0.0;
        case 3: return j == 0 ? 200.0 : 0.0;
        default: return j / chunk % 2 == 0 ? -100.0 : 100.0;
        }
    };
    for (int shape = 0; shape < 5; shape++) {
        const SpatialTensors t = make_tensors(c);
        for (int64_t j = 0; j < c.n_k; j++) {
            t.k.at(0, 0, j, 0) = float(key(shape, j));
        }
        SCOPED_TRACE(testing::Message() << "shape " << shape);
        expect_agrees(c, t);
    }
}

// Scales and softcaps at the ends of what is accepted, with inputs that make logits of an ordinary size.
TEST_P(SpatialNumerics, ScalesAtTheEndsOfTheirRange) {
    SpatialCase c = some_case();
    for (const float scale : {1e38f, -1e38f, 1e-37f, -1e-37f}) {
        c.scale = {scale};
        c.amplitude = std::sqrt(1 / std::fabs(double(scale))) / 4;
        const SpatialTensors t = make_tensors(c);
        t.v.fill_normal(3, 1);
        expect_agrees(c, t);
    }
}

TEST_P(SpatialNumerics, SoftcapsAtTheEndsOfTheirRange) {
    SpatialCase c = some_case();
    struct {
        float softcap, scale;
    } const ends[] = {{1e20f, 1},     {1e20f, 0.25f},  {1e-20f, 1e18f}, {1e-20f, 1},
                      {1e-3f, 1e30f}, {1e15f, 1e-15f}, {1e17f, 1e-20f}};
    for (const auto &[softcap, scale] : ends) {
        c.softcap = softcap;
        c.scale = {scale};
        c.amplitude = std::min(1.0, std::sqrt(1 / double(scale)));
        const SpatialTensors t = make_tensors(c);
        t.v.fill_normal(3, 1);
        expect_agrees(c, t);
    }
}

TEST_P(SpatialNumerics, ZeroScaleIsTheMean) {
    SpatialCase c = some_case();
    c.scale = {0.0f};
    expect_agrees(c);
}

TEST_P(SpatialNumerics, OneVisibleKeyIsCopied) {
    SpatialCase c = some_case();
    c.n_k = 1;
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    for (int64_t i = 0; i < c.n_q; i++) {
        for (int64_t e = 0; e < c.d_v; e++) {
            EXPECT_EQ(t.out.at(0, 1, i, e), t.v.at(0, 1, 0, e)) << "row " << i << " column " << e;
        }
    }
}

// Results over disjoint keys, merged by their lse, are the result over all: what lse is for.
TEST_P(SpatialNumerics, HalvesMergeByLse) {
    const SpatialCase whole = some_case();
    const SpatialTensors t = make_tensors(whole);
    ASSERT_EQ(run(whole, t), MUATTN_OK) << muattn_last_error();

    SpatialCase half = whole;
    half.n_k = whole.n_k / 2;
    SpatialTensors parts[2];
    for (int p = 0; p < 2; p++) {
        parts[p] = make_tensors(half);
        parts[p].q = t.q;
        for (int64_t h = 0; h < half.Hk; h++) {
            for (int64_t j = 0; j < half.n_k; j++) {
                const int64_t from = p * half.n_k + j;
                std::copy_n(t.k.row(0, h, from), half.d, parts[p].k.row(0, h, j));
                std::copy_n(t.v.row(0, h, from), half.d_v, parts[p].v.row(0, h, j));
            }
        }
        ASSERT_EQ(run(half, parts[p]), MUATTN_OK) << muattn_last_error();
    }
    EXPECT_TRUE(agrees(t.out, [&](int64_t b, int64_t h, int64_t i, int64_t e) {
        const double lse = double(t.lse.at(b, h, i, 0));
        double merged = 0;
        for (const SpatialTensors &part : parts) {
            merged += std::exp(double(part.lse.at(b, h, i, 0)) - lse) * double(part.out.at(b, h, i, e));
        }
        return Expected{merged, 1e-5};
    }));
}

}  // namespace
}  // namespace muattn::test
