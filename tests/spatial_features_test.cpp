// Spatial attention: features together. Each pair of choices of two features occurs in one case at least.
#include <cmath>
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/pairwise.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

struct Causal {
    muattn_causal causal;
    int64_t offset;
};

const Causal kCausal[] = {{MUATTN_CAUSAL_NONE, 0},
                          {MUATTN_CAUSAL_TOP_LEFT, 0},
                          {MUATTN_CAUSAL_BOTTOM_RIGHT, 0},
                          {MUATTN_CAUSAL_OFFSET, 2},
                          {MUATTN_CAUSAL_OFFSET, -3}};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const muattn_window kWindows[] = {{0, 0, 0}, {1, 2, 0}, {1, -1, 1}, {1, 4, -1}, {1, 3, 3}};
enum Lengths { none, full, mixed, with_zero, lengths_count };
enum Heads { one, several, grouped, one_kv, heads_count };
// Which dimensions of a mask are full, and its kind.
struct Mask {
    SpatialCase::Mask kind;
    std::array<bool, 4> full;
};
const Mask kMasks[] = {{SpatialCase::no_mask, {}},
                       {SpatialCase::additive, {true, true, true, true}},
                       {SpatialCase::additive, {false, true, true, true}},
                       {SpatialCase::additive, {true, false, true, false}},
                       {SpatialCase::boolean, {true, true, true, true}},
                       {SpatialCase::boolean, {true, false, false, true}},
                       {SpatialCase::boolean, {false, false, true, true}}};
const float kSoftcaps[] = {0.0f, 1.5f, 30.0f};
enum Sink { no_sink, some_sinks, all_sinks, sink_count };
enum Scale { sp, mup, mup_d_base, mup_heads, one_number, per_head, scale_count };

SpatialCase make_case(const std::vector<int> &row, int64_t n_q, int64_t n_k) {
    SpatialCase c;
    c.B = 2, c.n_q = n_q, c.n_k = n_k, c.d = 11;
    c.causal = kCausal[row[0]].causal;
    c.causal_offset = kCausal[row[0]].offset;
    c.window = kWindows[row[1]];
    switch (row[2]) {
    case full: c.key_lengths = {n_k, n_k}; break;
    case mixed: c.key_lengths = {n_k, (n_k + 1) / 2}; break;
    case with_zero: c.key_lengths = {0, n_k - 1}; break;
    }
    switch (row[3]) {
    case several: c.H = 3, c.Hk = 3; break;
    case grouped: c.H = 6, c.Hk = 2; break;
    case one_kv: c.H = 3, c.Hk = 1; break;
    }
    switch (row[4]) {
    case mup: c.scaling = MUATTN_SCALING_MUP; break;
    case mup_d_base: c.scaling = MUATTN_SCALING_MUP, c.d_base = 32; break;
    case mup_heads: c.scaling = MUATTN_SCALING_MUP_HEADS; break;
    case one_number: c.scale = {-0.4f}; break;
    case per_head:
        for (int64_t h = 0; h < c.H; h++) {
            c.scale.push_back(0.1f * float(h + 1));
        }
        break;
    }
    c.lse = row[5] != 0;
    const Layout layouts[] = {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()};
    c.layout = layouts[row[6]];
    const int64_t d_v[] = {11, 1, 20};
    c.d_v = d_v[row[7]];
    c.mask = kMasks[row[8]].kind;
    c.mask_full = kMasks[row[8]].full;
    c.softcap = kSoftcaps[row[9]];
    for (int64_t h = 0; row[10] != no_sink && h < c.H; h++) {
        c.sink.push_back(row[10] == some_sinks && h % 3 == 1 ? -kInfinity : 3.0f - 2.0f * float(h));
    }
    return c;
}

const std::vector<int> kChoices = {
    int(std::size(kCausal)), int(std::size(kWindows)),  lengths_count, heads_count, scale_count, 2, 6, 3,
    int(std::size(kMasks)),  int(std::size(kSoftcaps)), sink_count};

class SpatialFeatures : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialFeatures);

TEST_P(SpatialFeatures, InPairs) {
    for (const std::vector<int> &row : pairwise(kChoices)) {
        expect_agrees(make_case(row, 13, 13));
        expect_agrees(make_case(row, 5, 17));
        expect_agrees(make_case(row, 17, 6));
    }
}

TEST_P(SpatialFeatures, InPairsBeyondOneTileAndChunk) {
    const auto s = spatial_schedule(GetParam());
    for (const std::vector<int> &row : pairwise(kChoices)) {
        expect_agrees(make_case(row, s.tile_rows() + 7, 29));
        expect_agrees(make_case(row, 31, s.chunk_keys + 9));
    }
}

// Of every algorithm: the sink of each head, from none over small ones to one that leaves the keys nothing.
TEST_P(SpatialFeatures, SinksOfEveryAlgorithm) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{1, 700}, {5, 40}, {40, 40}, {150, 600}}) {
        SpatialCase c;
        c.B = 2, c.H = 4, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 16, c.d_v = 12;
        c.sink = {-kInfinity, -1e37f, 0.7f, 1e37f};
        expect_agrees(c);
        c.sink = {5, -5, 50, 0};
        expect_agrees(c);
        c.causal = MUATTN_CAUSAL_OFFSET;
        c.causal_offset = -3;  // the first rows see no key
        expect_agrees(c);
        c.lse = false;
        c.key_lengths = {0, n_k / 2};
        expect_agrees(c);
    }
}

// The same bits as without, where no head has one.
TEST_P(SpatialFeatures, SinksOfMinusInfinityAreNone) {
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{1, 700}, {5, 40}, {150, 600}}) {
        SpatialCase c;
        c.H = 2, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 16, c.d_v = 12;
        const SpatialTensors without = make_tensors(c), with = make_tensors(c);
        ASSERT_EQ(run(c, without), MUATTN_OK) << muattn_last_error();
        c.sink = {-kInfinity, -kInfinity};
        ASSERT_EQ(run(c, with), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(without.out.elements(), with.out.elements());
        EXPECT_EQ(without.lse.elements(), with.lse.elements());
    }
}

TEST_P(SpatialFeatures, SinksAreAMerge) {
    SpatialCase c;
    c.B = 2, c.H = 3, c.Hk = 3, c.n_q = 7, c.n_k = 30, c.d = 12, c.d_v = 10;
    const SpatialTensors without = make_tensors(c), nothing = make_tensors(c), merged = make_tensors(c),
                         with = make_tensors(c);
    ASSERT_EQ(run(c, without), MUATTN_OK) << muattn_last_error();
    c.sink = {-2, 1, 4};
    nothing.out.fill(0);
    for (int64_t row = 0; row < c.B * c.H * c.n_q; row++) {
        nothing.lse.at(row / (c.H * c.n_q), row / c.n_q % c.H, row % c.n_q, 0) = c.sink[size_t(row / c.n_q % c.H)];
    }
    const muattn_tensor out_a = without.out.view(), lse_a = without.lse.view(), out_b = nothing.out.view(),
                        lse_b = nothing.lse.view(), out = merged.out.view(), lse = merged.lse.view();
    ASSERT_EQ(muattn_merge(&out_a, &lse_a, &out_b, &lse_b, &out, &lse), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(run(c, with), MUATTN_OK) << muattn_last_error();
    const std::vector<float> got = with.out.elements(), want = merged.out.elements();
    const std::vector<float> got_lse = with.lse.elements(), want_lse = merged.lse.elements();
    for (size_t i = 0; i < got.size(); i++) {
        ASSERT_NEAR(got[i], want[i], 3e-6) << i;
    }
    for (size_t i = 0; i < got_lse.size(); i++) {
        ASSERT_NEAR(got_lse[i], want_lse[i], 3e-6) << i;
    }
}

TEST_P(SpatialFeatures, SinksThatAreNoLogitsAreRefused) {
    SpatialCase c;
    c.H = 2, c.n_q = 3, c.n_k = 4, c.d = 5, c.d_v = 6;
    const SpatialTensors t = make_tensors(c);
    for (const float bad : {kInfinity, 1.1e37f, -1.1e37f, std::nanf("")}) {
        c.sink = {0, bad};
        EXPECT_EQ(run(c, t), MUATTN_INVALID_SINK);
        EXPECT_NE(std::string(muattn_last_error()).find("sink[1] must be -inf"), std::string::npos)
            << muattn_last_error();
        EXPECT_TRUE(is_untouched(t.out.at(0, 0, 0, 0)));
    }
}

class SpatialFeaturesSweep : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialFeaturesSweep);

// 3000 of the 2721600 combinations.
TEST_P(SpatialFeaturesSweep, AtRandom) {
    std::mt19937 random(7);
    for (int count = 0; count < 3000; count++) {
        std::vector<int> row;
        for (const int choices : kChoices) {
            row.push_back(int(random() % unsigned(choices)));
        }
        expect_agrees(make_case(row, 1 + int64_t(random() % 40), 1 + int64_t(random() % 40)));
    }
}

}  // namespace
}  // namespace muattn::test
