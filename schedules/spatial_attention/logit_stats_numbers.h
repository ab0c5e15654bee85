// The numbers of the schedule of logit statistics. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct SpatialLogitStats {
    int lanes;        // float32 lanes of a vector
    int row_vectors;  // register tile: vectors of query rows ...
    int key_unroll;   // ... by keys
    int tile_blocks;  // blocks of row_vectors * lanes rows in a tile: what one kernel call computes, at most
    int chunk_keys;   // keys that a tile treats at once; a multiple of key_unroll
    bool scalable = false;

    // Those of the general forward schedule, whose product this is the first of.
    static constexpr SpatialLogitStats defaults(Machine m) {
        if (m.few_registers()) {
            return {m.lanes, 1, 4, 8, 256, m.scalable};
        }
        return {m.lanes, 3, m.registers >= 32 ? 8 : 4, 8, m.lanes >= 16 ? 128 : 256, m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialLogitStats;
        return std::array{
            Number<S>{"row_vectors", &S::row_vectors},
            Number<S>{"key_unroll", &S::key_unroll},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_keys", &S::chunk_keys},
        };
    }

    // Side of the square blocks in which Q and masks are transposed, and floats from one of a block's rows to the next.
    constexpr int transpose_side() const { return std::min(lanes, 4); }
    constexpr int transpose_row() const { return transpose_side() + (scalable ? 1 : 0); }

    constexpr int block_rows() const { return row_vectors * lanes; }
    constexpr int tile_rows() const { return tile_blocks * block_rows(); }
    constexpr int64_t tiles(int64_t n_q) const { return (n_q + tile_rows() - 1) / tile_rows(); }

    // At most what one kernel call allocates: the stages that schedule_spatial_logit_stats_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes. sums: numbers of a row.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, int sums, BlockBytes block_bytes) const {
        const int64_t block = block_rows(), keys = chunk_keys + key_unroll, side = transpose_side();
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(tile_rows() * round_up(d, side))            // Q
               + (1 + sums) * floats(tile_rows())                 // state
               + floats(keys * (round_up(d, lanes) + 2 * lanes))  // K
               + 2 * floats(block * keys)                         // S, hides
               + (1 + sums) * floats(block)                       // M, sums
               + 2 * floats(side * transpose_row());              // Q_rows, hides_rows
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
