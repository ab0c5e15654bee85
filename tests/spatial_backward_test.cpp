// Spatial attention's gradients, against those in double precision.
#include <cstring>
#include <random>

#include "support/backends.h"
#include "support/pairwise.h"
#include "support/spatial_choices.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

bool same_bits(const std::vector<float> &a, const std::vector<float> &b) {
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class SpatialBackward : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialBackward);

TEST_P(SpatialBackward, SmallSizes) {
    for (int64_t n_q = 0; n_q <= 17; n_q++) {
        for (int64_t n_k = 0; n_k <= 17; n_k++) {
            SpatialBackwardCase c = backward_case(n_q, n_k, 1 + (n_q + n_k) % 5, 1 + n_k % 3);
            expect_gradients_agree(c);
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            expect_gradients_agree(c);
        }
    }
}

TEST_P(SpatialBackward, EmptyBatchAndHeads) {
    SpatialBackwardCase c = backward_case(3, 4, 5, 6);
    c.B = 0;
    const SpatialGradientTensors t = make_gradient_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(t.d_scale[0], 0);
    c.mask = SpatialCase::additive;
    c.mask_full = {false, true, true, true};
    const SpatialGradientTensors with_mask = make_gradient_tensors(c);
    ASSERT_EQ(run(c, with_mask), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(with_mask.d_mask.elements(), std::vector<float>(12, 0.0f));
    c.mask = SpatialCase::no_mask;
    c.B = 2, c.H = 0, c.Hk = 0;
    ASSERT_EQ(run(c, make_gradient_tensors(c)), MUATTN_OK) << muattn_last_error();
}

TEST_P(SpatialBackward, SizesAroundTiles) {
    const auto s = key_blocks_schedule(GetParam());
    for (const int64_t n_k : around({s.lanes, s.panel(), s.block_keys(), 2 * s.block_keys()})) {
        for (const int64_t n_q : around({s.query_unroll, s.row_unroll, s.block_queries, 2 * s.block_queries})) {
            SpatialBackwardCase c = backward_case(n_q, n_k, 5, 4);
            c.causal = n_q % 2 == 0 ? MUATTN_CAUSAL_TOP_LEFT : MUATTN_CAUSAL_NONE;
            expect_gradients_agree(c);
        }
    }
    for (const int64_t d :
         around({4, s.lanes, s.column_unroll, s.column_vectors * s.lanes, 2 * s.column_vectors * s.lanes})) {
        expect_gradients_agree(backward_case(7, 11, d, d));
        expect_gradients_agree(backward_case(7, 11, d, 3));
        expect_gradients_agree(backward_case(7, 11, 3, d));
    }
}

TEST_P(SpatialBackward, Primes) {
    for (const auto &[n_q, n_k, d, d_v] :
         {std::array<int64_t, 4>{101, 211, 13, 29}, {307, 59, 31, 7}, {2, 1009, 5, 11}, {1009, 2, 5, 11}}) {
        SpatialBackwardCase c = backward_case(n_q, n_k, d, d_v);
        expect_gradients_agree(c);
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        expect_gradients_agree(c);
        c.window = {1, 37, 0};
        expect_gradients_agree(c);
    }
}

// Several spans of keys in one lane, in several lanes, and several stripes of queries.
TEST_P(SpatialBackward, BeyondOneSpanAndStripe) {
    const auto s = key_blocks_schedule(GetParam());
    SpatialBackwardCase c = backward_case(70, 2 * s.span_keys + 33, 4, 3);
    expect_gradients_agree(c);
    c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    c.window = {1, s.span_keys + 9, 0};
    expect_gradients_agree(c);
    c.B = 3, c.H = 8, c.Hk = 8, c.n_q = 9;
    expect_gradients_agree(c);
    c = backward_case((1 << 14) + 77, 35, 2, 1);
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = -16000;
    expect_gradients_agree(c);
}

TEST_P(SpatialBackward, LargeHeadDimensions) {
    for (const auto &[d, d_v] : {std::pair<int64_t, int64_t>{1024, 1024}, {1023, 5}, {5, 1023}, {512, 256}}) {
        expect_gradients_agree(backward_case(33, 70, d, d_v));
    }
}

TEST_P(SpatialBackward, FeaturesInPairs) {
    std::mt19937 random(3);
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{13, 13}, {5, 17}, {17, 6}}) {
            SpatialBackwardCase c(spatial_case_of(row, n_q, n_k));
            c.with_d_lse = random() % 2 == 0;
            expect_gradients_agree(c);
        }
    }
}

TEST_P(SpatialBackward, FeaturesInPairsBeyondOneBlock) {
    const auto s = key_blocks_schedule(GetParam());
    for (const std::vector<int> &row : pairwise(kSpatialChoices)) {
        expect_gradients_agree(SpatialBackwardCase(spatial_case_of(row, s.block_queries + 7, s.panel() + 5)));
        expect_gradients_agree(SpatialBackwardCase(spatial_case_of(row, 31, s.block_keys() + 9)));
    }
}

// The gradient of a mask that is one for several batch entries, heads, queries or keys is a sum.
TEST_P(SpatialBackward, EveryShapeOfAMask) {
    for (int full = 0; full < 16; full++) {
        for (const float softcap : {0.0f, 2.0f}) {
            SpatialBackwardCase c = backward_case(11, 60, 6, 5);
            c.B = 3, c.H = 4, c.Hk = 2;
            c.softcap = softcap;
            c.mask = SpatialCase::additive;
            c.mask_full = {(full & 8) != 0, (full & 4) != 0, (full & 2) != 0, (full & 1) != 0};
            expect_gradients_agree(c);
            c.causal = MUATTN_CAUSAL_TOP_LEFT;
            c.B = 40, c.n_k = 14;  // so many that a mask's maps are shared out to several tasks
            expect_gradients_agree(c);
        }
    }
}

TEST_P(SpatialBackward, WhatIsWanted) {
    for (int wanted = 0; wanted < 64; wanted++) {
        SpatialBackwardCase c = backward_case(9, 21, 6, 5);
        c.H = 2, c.Hk = 2;
        c.mask = SpatialCase::additive;
        c.sink = {0.5f, -1};
        c.wants_q = (wanted & 1) != 0, c.wants_k = (wanted & 2) != 0, c.wants_v = (wanted & 4) != 0;
        c.wants_scale = (wanted & 8) != 0, c.wants_mask = (wanted & 16) != 0, c.wants_sink = (wanted & 32) != 0;
        if (wanted != 0) {
            expect_gradients_agree(c);
        }
        c.mask = SpatialCase::no_mask;
        c.sink.clear();
        if ((wanted & 15) != 0) {
            expect_gradients_agree(c);
            c.n_k = 3 * key_blocks_schedule(GetParam()).span_keys;  // several lanes
            expect_gradients_agree(c);
        }
    }
}

TEST_P(SpatialBackward, NothingWanted) {
    SpatialBackwardCase c = backward_case(9, 21, 6, 5);
    c.wants_q = c.wants_k = c.wants_v = c.wants_scale = c.wants_mask = c.wants_sink = false;
    EXPECT_EQ(run(c, make_gradient_tensors(c)), MUATTN_OK) << muattn_last_error();
}

// d_q is 0 with it, what d_scale sums up is not.
TEST_P(SpatialBackward, ScalesOfZero) {
    SpatialBackwardCase c = backward_case(20, 30, 6, 5);
    c.H = 4, c.Hk = 2;
    c.scale = {0, 0.5f, -0.25f, 0};
    expect_gradients_agree(c);
    c.softcap = 3;
    expect_gradients_agree(c);
    c.wants_scale = false;
    expect_gradients_agree(c);
}

// Near the ends of what a float can be d_q is 0, or infinite, where d_scale is neither.
TEST_P(SpatialBackward, ScalesNearTheEnds) {
    SpatialBackwardCase c = backward_case(20, 30, 6, 5);
    c.H = 4, c.Hk = 2;
    c.scale = {1e-37f, -3e-20f, 1e-14f, 2e-16f};
    expect_gradients_agree(c);
    c.wants_q = false;
    expect_gradients_agree(c);
}

TEST_P(SpatialBackward, LargeAndSmallNumbers) {
    for (const double amplitude : {1e-3, 10.0}) {
        SpatialBackwardCase c = backward_case(40, 50, 16, 16);
        c.amplitude = amplitude;
        expect_gradients_agree(c);
        c.softcap = 5;
        expect_gradients_agree(c);
    }
}

TEST_P(SpatialBackward, SameBitsForAnyNumberOfThreads) {
    const auto s = key_blocks_schedule(GetParam());
    std::vector<SpatialBackwardCase> cases{backward_case(150, 3 * s.span_keys + 7, 20, 17),
                                           backward_case(40, 100, 20, 17)};
    cases[0].causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    cases[1].B = 20, cases[1].H = 4, cases[1].Hk = 2;
    cases[1].mask = SpatialCase::additive;
    cases[1].mask_full = {false, true, true, true};
    cases[1].sink = {1, 2, 3, 4};
    for (const SpatialBackwardCase &c : cases) {
        const SpatialGradientTensors t = make_gradient_tensors(c);
        std::vector<float> first;
        for (const int threads : {1, 2, 7, 1}) {
            ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
            t.clear();
            ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
            const std::vector<float> got = t.results();
            first = first.empty() ? got : first;
            EXPECT_TRUE(same_bits(got, first)) << threads << " threads";
        }
    }
}

// As the gradient of one projection: no element is shared, whatever the numbers of heads.
TEST_P(SpatialBackward, PackedGradients) {
    for (const int64_t d : {1, 7, 16, 40}) {
        SpatialBackwardCase c = backward_case(37, 37, d, d);
        c.B = 2, c.H = 4, c.Hk = 2;
        SpatialGradientTensors t = make_gradient_tensors(c);
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        const std::vector<float> expected = t.results();
        const std::vector<Tensor> parts = packed_tensors(std::vector<int64_t>{4, 2, 2}, c.B, c.n_q, d);
        t.d_q = parts[0], t.d_k = parts[1], t.d_v = parts[2];
        t.clear();
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        EXPECT_TRUE(same_bits(t.results(), expected)) << "d = " << d;
    }
}

// What rings of machines count on: with out and lse of all keys, the gradients of disjoint sets of keys add up.
TEST_P(SpatialBackward, DisjointSetsOfKeysAddUp) {
    SpatialBackwardCase c = backward_case(60, 90, 12, 10);
    c.H = 4, c.Hk = 2;
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = 30;
    c.sink = {0.5f, 1, -1, 0};
    const SpatialGradientTensors whole = make_gradient_tensors(c);
    const reference::SpatialGradients allowed = allowed_gradient_errors(c, whole);
    ASSERT_EQ(run(c, whole), MUATTN_OK) << muattn_last_error();
    std::vector<double> d_q(allowed.q.size());
    constexpr int64_t kSplit = 37;
    for (const auto &[first, keys] : {std::pair<int64_t, int64_t>{0, kSplit}, {kSplit, c.n_k - kSplit}}) {
        SpatialBackwardCase part = c;
        part.n_k = keys;
        part.causal_offset = c.causal_offset - first;
        SpatialGradientTensors t = make_gradient_tensors(part);
        t.inputs.q = whole.inputs.q, t.inputs.out = whole.inputs.out, t.inputs.lse = whole.inputs.lse;
        t.d_out = whole.d_out, t.d_lse = whole.d_lse;
        for (int64_t h = 0; h < c.Hk; h++) {
            for (int64_t j = 0; j < keys; j++) {
                memcpy(t.inputs.k.row(0, h, j), whole.inputs.k.row(0, h, first + j), size_t(c.d) * sizeof(float));
                memcpy(t.inputs.v.row(0, h, j), whole.inputs.v.row(0, h, first + j), size_t(c.d_v) * sizeof(float));
            }
        }
        expect_gradients_agree(part, t);
        for (int64_t h = 0; h < c.Hk; h++) {
            for (int64_t j = 0; j < keys; j++) {
                for (int64_t e = 0; e < c.d; e++) {
                    const auto place = size_t(((h * c.n_k) + first + j) * c.d + e);
                    ASSERT_NEAR(t.d_k.at(0, h, j, e), whole.d_k.at(0, h, first + j, e), 2 * allowed.k[place]);
                }
            }
        }
        const std::vector<float> of_part = t.d_q.elements();
        for (size_t i = 0; i < d_q.size(); i++) {
            d_q[i] += double(of_part[i]);
        }
    }
    const std::vector<float> got = whole.d_q.elements();
    for (size_t i = 0; i < d_q.size(); i++) {
        ASSERT_NEAR(double(got[i]), d_q[i], 3 * allowed.q[i]) << i;
    }
}

class SpatialBackwardSweep : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialBackwardSweep);

TEST_P(SpatialBackwardSweep, FeaturesAtRandom) {
    std::mt19937 random(7);
    for (int count = 0; count < 1500; count++) {
        std::vector<int> row;
        for (const int choices : kSpatialChoices) {
            row.push_back(int(random() % unsigned(choices)));
        }
        SpatialBackwardCase c(spatial_case_of(row, 1 + int64_t(random() % 40), 1 + int64_t(random() % 40)));
        c.with_d_lse = random() % 2 == 0;
        c.wants_q = random() % 4 != 0, c.wants_k = random() % 4 != 0, c.wants_mask = random() % 4 != 0;
        expect_gradients_agree(c);
    }
}

}  // namespace
}  // namespace muattn::test
