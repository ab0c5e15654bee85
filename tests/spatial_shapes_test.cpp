// Spatial attention at every size where a kernel changes its way.
#include <algorithm>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

SpatialCase sized(int64_t n_q, int64_t n_k, int64_t d, int64_t d_v) {
    SpatialCase c;
    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = d_v;
    return c;
}

class SpatialShapes : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialShapes);

TEST_P(SpatialShapes, SmallTokenCounts) {
    for (const int64_t n_q : up_to(17)) {
        for (const int64_t n_k : up_to(17)) {
            expect_agrees(sized(n_q, n_k, 5, 3));
        }
    }
}

TEST_P(SpatialShapes, SmallHeadDimensions) {
    for (const int64_t d : up_to(17)) {
        for (const int64_t d_v : up_to(17)) {
            expect_agrees(sized(3, 7, d, d_v));
        }
    }
}

TEST_P(SpatialShapes, QueriesAroundTiles) {
    const auto s = spatial_schedule(GetParam());
    for (const int64_t n_q : around({s.lanes, 2 * s.lanes, s.block_rows(), 2 * s.block_rows(), s.tile_rows(),
                                     s.tile_rows() + s.block_rows(), 2 * s.tile_rows()})) {
        expect_agrees(sized(n_q, 1, 4, 4));
        expect_agrees(sized(n_q, 37, 9, 5));
    }
}

TEST_P(SpatialShapes, KeysAroundChunks) {
    const auto s = spatial_schedule(GetParam());
    for (const int64_t n_k : around({s.key_unroll, 2 * s.key_unroll, s.chunk_keys, s.chunk_keys + s.key_unroll,
                                     2 * s.chunk_keys, 3 * s.chunk_keys})) {
        expect_agrees(sized(1, n_k, 8, 5));
        expect_agrees(sized(s.block_rows() + 1, n_k, 3, 7));
    }
}

TEST_P(SpatialShapes, CausalTilesThatStartWithinChunks) {
    const auto s = spatial_schedule(GetParam());
    SpatialCase c = sized(s.tile_rows() + 5, s.chunk_keys + s.tile_rows() + 3, 6, 5);
    c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    for (const int64_t left : {0, 1, s.key_unroll, s.chunk_keys - 1, s.chunk_keys}) {
        c.window = {1, left, 0};
        expect_agrees(c);
    }
}

TEST_P(SpatialShapes, HeadDimensionsAroundVectors) {
    const auto s = spatial_schedule(GetParam());
    for (const int64_t d : around({s.lanes, 2 * s.lanes, 4 * s.lanes, s.value_group, 8 * s.value_group, 128})) {
        expect_agrees(sized(5, 11, d, 3));
        expect_agrees(sized(5, 11, 3, d));
        expect_agrees(sized(5, 11, d, d));
    }
}

// In muP the head dimension is what grows: 1024 is the limit.
TEST_P(SpatialShapes, LargeHeadDimensions) {
    for (const int64_t d : {1, 256, 1023, 1024}) {
        for (const int64_t d_v : {1, 512, 1021, 1024}) {
            expect_agrees(sized(9, 33, d, d_v));
        }
    }
}

TEST_P(SpatialShapes, Primes) {
    const int64_t primes[] = {2,  3,  5,  7,  11, 13, 17, 19, 23, 29,  31,  37,  41,  43,  47,  53,
                              59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131};
    const size_t count = std::size(primes);
    for (size_t i = 0; i < count; i++) {
        expect_agrees(
            sized(primes[i], primes[(i * 7 + 3) % count], primes[(i * 5 + 1) % count], primes[(i * 11 + 2) % count]));
    }
}

TEST_P(SpatialShapes, BatchesAndHeads) {
    for (const int64_t B : {1, 2, 3}) {
        for (const int64_t H : {1, 2, 6}) {
            for (const int64_t Hk : {1, 2, 3, 6}) {
                if (H % Hk == 0) {
                    SpatialCase c = sized(19, 23, 7, 9);
                    c.B = B, c.H = H, c.Hk = Hk;
                    expect_agrees(c);
                }
            }
        }
    }
}

class SpatialShapesSweep : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialShapesSweep);

// The edges of tiles and chunks together, with and without a causal mask.
TEST_P(SpatialShapesSweep, TilesByChunks) {
    const auto s = spatial_schedule(GetParam());
    for (const int64_t n_q : around({s.block_rows(), s.tile_rows(), 2 * s.tile_rows()})) {
        for (const int64_t n_k : around({s.key_unroll, s.chunk_keys, 2 * s.chunk_keys})) {
            SpatialCase c = sized(n_q, n_k, 5, s.value_group + 1);
            expect_agrees(c);
            c.causal = MUATTN_CAUSAL_TOP_LEFT;
            expect_agrees(c);
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            c.lse = false;
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialShapesSweep, EveryHeadDimension) {
    for (const int64_t d : up_to(130)) {
        expect_agrees(sized(4, 6, d, d));
        expect_agrees(sized(4, 6, 131 - d, d));
    }
}

TEST_P(SpatialShapesSweep, EveryTokenCount) {
    for (const int64_t n : up_to(400)) {
        SpatialCase c = sized(n, n, 4, 4);
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        expect_agrees(c);
    }
}

}  // namespace
}  // namespace muattn::test
