// Spatial attention: which keys a query sees.
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
constexpr muattn_causal kEveryCausal[] = {MUATTN_CAUSAL_NONE, MUATTN_CAUSAL_TOP_LEFT, MUATTN_CAUSAL_BOTTOM_RIGHT};

SpatialCase sized(int64_t n_q, int64_t n_k) {
    SpatialCase c;
    c.n_q = n_q, c.n_k = n_k, c.d = 5, c.d_v = 3;
    return c;
}

class SpatialMasks : public OnEveryBackend {
protected:
    // The same numbers of queries and keys, either way round, within a tile and beyond one.
    std::vector<SpatialCase> several_sizes() const {
        const auto s = spatial_schedule(GetParam());
        const int64_t large = s.tile_rows() + 3, chunk = s.chunk_keys + 2;
        return {sized(7, 7), sized(4, 11),     sized(11, 4),     sized(1, 9),
                sized(9, 1), sized(large, 40), sized(40, chunk), sized(large, chunk)};
    }
};
MUATTN_ON_EVERY_BACKEND(SpatialMasks);

TEST_P(SpatialMasks, CausalAlignments) {
    for (SpatialCase c : several_sizes()) {
        for (const muattn_causal causal : kEveryCausal) {
            c.causal = causal;
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialMasks, CausalOffsets) {
    for (SpatialCase c : several_sizes()) {
        c.causal = MUATTN_CAUSAL_OFFSET;
        for (const int64_t offset : {int64_t(0), int64_t(1), int64_t(-1), int64_t(5), int64_t(-5), c.n_k, -c.n_q,
                                     c.n_k - 1, 1 - c.n_q, kMin, kMax}) {
            c.causal_offset = offset;
            expect_agrees(c);
        }
    }
}

// Sequences of different lengths in one batch: each has its own offset.
TEST_P(SpatialMasks, CausalOffsetsOfBatchEntries) {
    for (SpatialCase c : several_sizes()) {
        c.B = 4;
        c.causal = MUATTN_CAUSAL_OFFSET;
        c.causal_offset = kMax;  // not used
        c.causal_offsets = {0, c.n_k - c.n_q, -2, kMax};
        for (const bool windowed : {false, true}) {
            c.window = {windowed, 4, -1};
            for (const bool masked : {false, true}) {
                c.mask = masked ? SpatialCase::additive : SpatialCase::no_mask;
                c.key_lengths.clear();
                expect_agrees(c);
                c.key_lengths = {c.n_k, 1, c.n_k / 2, 0};
                expect_agrees(c);
            }
        }
    }
}

// A static cache of keys: the last query of each entry sees the last of its keys, not of the cache's.
TEST_P(SpatialMasks, BottomRightCountsFromKeyLengths) {
    for (SpatialCase c : several_sizes()) {
        c.B = 4;
        c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        c.key_lengths = {c.n_k, c.n_k / 2, 1, 0};
        for (const bool windowed : {false, true}) {
            c.window = {windowed, 3, 1};
            expect_agrees(c);
            c.mask = SpatialCase::boolean;
            expect_agrees(c);
            c.mask = SpatialCase::no_mask;
        }
    }
}

// An entry of a batch with a cache of its length gives what it gives alone, with its keys and no others.
TEST_P(SpatialMasks, AnEntryOfABatchIsTheCallOfItsOwn) {
    SpatialCase c = sized(2, 40);
    c.B = 3, c.H = 2, c.Hk = 2;
    c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    c.key_lengths = {40, 17, 5};
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    for (int64_t b = 0; b < c.B; b++) {
        SpatialCase alone = c;
        alone.B = 1, alone.n_k = c.key_lengths[size_t(b)], alone.key_lengths = {alone.n_k};
        const SpatialTensors one = make_tensors(alone);
        for (int64_t h = 0; h < c.H; h++) {
            for (int64_t i = 0; i < c.n_q; i++) {
                std::copy_n(t.q.row(b, h, i), c.d, one.q.row(0, h, i));
            }
            for (int64_t j = 0; j < alone.n_k; j++) {
                std::copy_n(t.k.row(b, h, j), c.d, one.k.row(0, h, j));
                std::copy_n(t.v.row(b, h, j), c.d_v, one.v.row(0, h, j));
            }
        }
        ASSERT_EQ(run(alone, one), MUATTN_OK) << muattn_last_error();
        for (int64_t h = 0; h < c.H; h++) {
            for (int64_t i = 0; i < c.n_q; i++) {
                for (int64_t e = 0; e < c.d_v; e++) {
                    ASSERT_NEAR(t.out.at(b, h, i, e), one.out.at(0, h, i, e), 1e-6);
                }
            }
        }
    }
}

// The offset belongs to MUATTN_CAUSAL_OFFSET alone.
TEST_P(SpatialMasks, OffsetIsIgnoredByNamedAlignments) {
    for (SpatialCase c : several_sizes()) {
        c.causal_offset = 3;
        for (const muattn_causal causal : kEveryCausal) {
            c.causal = causal;
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialMasks, Windows) {
    for (SpatialCase c : several_sizes()) {
        for (const muattn_causal causal : kEveryCausal) {
            c.causal = causal;
            for (const int64_t left : {-1, 0, 1, 3}) {
                for (const int64_t right : {-1, 0, 2}) {
                    c.window = {1, left, right};
                    expect_agrees(c);
                }
            }
        }
    }
}

TEST_P(SpatialMasks, WindowsAtTheEndsOfTheirRange) {
    for (SpatialCase c : several_sizes()) {
        for (const int64_t left : {kMin, int64_t(-1), int64_t(0), kMax}) {
            for (const int64_t right : {kMin, int64_t(0), kMax}) {
                c.window = {1, left, right};
                expect_agrees(c);
            }
        }
    }
}

// An offset far outside with a window that reaches back: i + o - left is what counts, not o.
TEST_P(SpatialMasks, FarOffsetWithAWindowThatReachesBack) {
    for (SpatialCase c : several_sizes()) {
        c.causal = MUATTN_CAUSAL_OFFSET;
        for (const int64_t offset : {int64_t(1) << 20, int64_t(1) << 40, kMax}) {
            for (const int64_t reach : {0, 1, 3}) {
                c.causal_offset = offset;
                c.window = {1, offset - reach, -1};
                expect_agrees(c);
                c.causal_offset = -offset;
                c.window = {1, -1, offset - reach};
                expect_agrees(c);
            }
        }
    }
}

TEST_P(SpatialMasks, DisabledWindowIsIgnored) {
    SpatialCase c = sized(7, 9);
    c.window = {0, 0, 0};
    expect_agrees(c);
}

TEST_P(SpatialMasks, KeyLengths) {
    for (SpatialCase c : several_sizes()) {
        c.B = 3, c.H = 4, c.Hk = 2;
        for (const muattn_causal causal : kEveryCausal) {
            c.causal = causal;
            c.key_lengths = {c.n_k, (c.n_k + 1) / 2, 1};
            expect_agrees(c);
        }
    }
}

// Lengths are kept inline up to a point, and allocated beyond it.
TEST_P(SpatialMasks, ManyKeyLengths) {
    SpatialCase c = sized(3, 9);
    c.B = 150;
    for (int64_t b = 0; b < c.B; b++) {
        c.key_lengths.push_back(b % 10);
    }
    expect_agrees(c);
}

// A query that sees no key has output 0 and lse -inf.
TEST_P(SpatialMasks, RowsThatSeeNothing) {
    for (SpatialCase c : several_sizes()) {
        c.B = 2;
        c.key_lengths = {0, 0};
        expect_agrees(c);
        c.key_lengths = {c.n_k, 0};
        expect_agrees(c);
        c.key_lengths.clear();
        c.causal = MUATTN_CAUSAL_OFFSET;
        c.causal_offset = -c.n_q;
        expect_agrees(c);
        c.causal_offset = -c.n_q / 2;
        expect_agrees(c);
        c.causal = MUATTN_CAUSAL_NONE;
        c.key_lengths = {c.n_k, c.n_k / 2};
        c.window = {1, -1, -2};
        c.window.left = 0;
        expect_agrees(c);
    }
}

TEST_P(SpatialMasks, RowsThatSeeNothingAreExactlyZero) {
    SpatialCase c = sized(50, 30);
    c.key_lengths = {0};
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    for (const float x : t.out.elements()) {
        EXPECT_EQ(x, 0.0f);
    }
    for (const float x : t.lse.elements()) {
        EXPECT_EQ(x, -std::numeric_limits<float>::infinity());
    }
}

}  // namespace
}  // namespace muattn::test
