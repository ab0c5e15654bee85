// The numbers of the schedule of spatial attention for few keys. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct SpatialFewKeys {
    int lanes;        // float32 lanes of a vector
    int registers;    // vector registers
    int block_rows;   // rows whose logits are held at once
    int tile_blocks;  // blocks of a tile: what one task computes
    bool scalable = false;

    static constexpr SpatialFewKeys defaults(Machine m) {
        // K and V of a head, transposed, outgrow the first-level cache: with vectors of 16, more rows make up for it.
        const bool large = m.lanes >= 16;
        return {m.lanes, m.registers, large ? 72 : 24, large ? 4 : 12, m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialFewKeys;
        return std::array{
            Number<S>{"block_rows", &S::block_rows},
            Number<S>{"tile_blocks", &S::tile_blocks},
        };
    }

    // The register tiles of both products: vectors of keys or columns, by rows. A call takes the first that costs least, padding
    // included.
    static constexpr int kUsualCost = 4;
    struct Tile {
        int vectors, rows;
        int vector_cost = kUsualCost;  // more where it loads more for each multiply-add
    };
    struct Tiles {
        Tile tile[6];
        int count;

        constexpr const Tile *begin() const { return tile; }
        constexpr const Tile *end() const { return tile + count; }
    };
    constexpr Tiles tiles() const {
        if (registers >= 32 && lanes >= 16) {  // shorter vectors pad less, and NEON's loads hold 5 by 4 and 7 by 3 up
            return {{{4, 6}, {3, 8}, {2, 8}, {5, 4}, {7, 3}, {1, 12, 5}}, 6};
        }
        if (registers >= 32) {
            return {{{4, 6}, {3, 8}, {2, 8}, {1, 12, 5}}, 4};
        }
        if (registers >= 16) {
            return {{{4, 3}, {5, 2}, {3, 4}, {2, 6}, {1, 12, 5}}, 5};
        }
        return {{{4, 1}, {2, 2}, {1, 4}, {3, 1}}, 4};
    }

    // Rows that the row maximum and the row sum treat at once.
    static constexpr int kReducedRows = 4;
    // Whether the lanes of several rows' sums are added up together; not scalable ones: LLVM 21 fails on some.
    constexpr bool sum_together() const { return !scalable; }
    // Side of the square blocks in which K is transposed: their 4 vectors of 4 stay in registers everywhere.
    constexpr int transpose_side() const { return std::min(lanes, 4); }
    // Floats from one row of such a block to the next.
    constexpr int transpose_row() const { return transpose_side() + (scalable ? 1 : 0); }

    constexpr int64_t tile_rows() const { return int64_t(block_rows) * tile_blocks; }
    constexpr int64_t row_tiles(int64_t n_q) const {
        return (n_q + tile_rows() - 1) / tile_rows();
    }

    // What both products cost for one head: multiplications, with keys and columns padded, at their tiles' costs; rows pad to 12 at most.
    constexpr int64_t cost(int64_t n_q, int64_t n_k, int64_t d, int64_t d_v) const {
        return n_q * (least_cost(n_k) * d + n_k * least_cost(d_v)) / kUsualCost;
    }
    // Of n keys or columns, in whole register tiles.
    constexpr int64_t least_cost(int64_t n) const {
        int64_t least = INT64_MAX;
        for (const Tile &tile : tiles()) {
            least = std::min(least, round_up(n, int64_t(tile.vectors) * lanes) * tile.vector_cost);
        }
        return least;
    }

    // At most what one task allocates: the stages that schedule_spatial_few_keys_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t n_k, int64_t d, int64_t d_v, BlockBytes block_bytes) const {
        // Each stage rounds up the rows that the next one asks for.
        int most_vectors = 0;
        int64_t rows = round_up(block_rows, lanes), logit_rows = 0;
        for (const Tile &tile : tiles()) {
            most_vectors = std::max(most_vectors, tile.vectors);
            rows = std::max(rows, round_up(block_rows, tile.rows));
        }
        rows = round_up(rows, kReducedRows);
        for (const Tile &tile : tiles()) {
            logit_rows = std::max(logit_rows, round_up(rows, tile.rows));
        }
        const int64_t keys = round_up(n_k, lanes) + most_vectors * lanes, columns = round_up(d_v, lanes) + most_vectors * lanes;
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(keys * round_up(d, transpose_side()))   // K
               + floats(n_k * columns)                        // V
               + 3 * floats(logit_rows * keys)                // bias, S, P
               + 2 * floats(rows * lanes)                     // lane_max, lane_sum
               + 4 * floats(rows)                             // M, L, R, LSE
               + floats(rows * columns)                       // O
               + floats(transpose_side() * transpose_row());  // K_rows
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
