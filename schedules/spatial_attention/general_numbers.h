// The numbers of the spatial attention schedule. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct SpatialGeneral {
    int lanes;        // float32 lanes of a vector
    int row_vectors;  // register tile: vectors of query rows ...
    int key_unroll;   // ... by keys, in Q K^T
    int value_group;  // ... by columns of V, in P V
    int tile_blocks;  // blocks of row_vectors * lanes rows in a tile: what one task computes
    int chunk_keys;   // keys that a tile treats at once; a multiple of key_unroll
    bool scalable = false;

    static constexpr SpatialGeneral defaults(Machine m) {
        if (m.few_registers()) {
            return {m.lanes, 1, 4, 4, 8, 256, m.scalable};
        }
        const bool wide = m.registers >= 32;
        // S and P of a block in the first-level cache: with 16 lanes a block has more rows, so fewer keys.
        return {m.lanes, 3, wide ? 8 : 4, wide ? 8 : 4, 8, m.lanes >= 16 ? 128 : 256, m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialGeneral;
        return std::array{
            Number<S>{"row_vectors", &S::row_vectors},
            Number<S>{"key_unroll", &S::key_unroll},
            Number<S>{"value_group", &S::value_group},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_keys", &S::chunk_keys},
        };
    }

    // Side of the square blocks in which Q, O and masks are transposed: their 4 vectors of 4 stay in registers everywhere.
    constexpr int transpose_side() const { return std::min(lanes, 4); }

    // How many such blocks of rows ahead Q is asked for while it is copied.
    static constexpr int kPrefetchedSides = 4;

    // Floats from one row of such a block to the next.
    constexpr int transpose_row() const { return transpose_side() + (scalable ? 1 : 0); }

    constexpr int block_rows() const { return row_vectors * lanes; }
    constexpr int tile_rows() const { return tile_blocks * block_rows(); }
    constexpr int64_t tiles(int64_t n_q) const { return (n_q + tile_rows() - 1) / tile_rows(); }
    constexpr int64_t padded_rows(int64_t n_q) const { return round_up(n_q, block_rows()); }

    // What both products cost for one head that sees every key: multiplications, padding included.
    constexpr int64_t cost(int64_t n_q, int64_t n_k, int64_t d, int64_t d_v) const {
        return padded_rows(n_q) * round_up(n_k, key_unroll) * (d + round_up(d_v, value_group));
    }

    // At most what one task allocates: the stages that schedule_spatial_general_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t n_q, int64_t d, int64_t d_v, BlockBytes block_bytes) const {
        const int64_t rows = std::min<int64_t>(tile_rows(), padded_rows(n_q)), block = block_rows();
        const int64_t columns = round_up(d_v, value_group), groups = columns / value_group + 1, side = transpose_side();
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(rows * round_up(d, side))                           // Q
               + value_group * floats(rows * groups)                      // state
               + floats((chunk_keys + key_unroll) * padded_row(d))        // K
               + floats((chunk_keys + key_unroll) * padded_row(columns))  // V
               + 3 * floats(block * (chunk_keys + key_unroll))            // S, P, bias
               + 2 * floats(block)                                        // M, L
               + 4 * floats(side * transpose_row());                      // Q_rows, bias_rows, O, LSE
    }

    // Floats from one key to the next in the copies of K and V.
    constexpr int64_t padded_row(int64_t d) const { return round_up(d, lanes) + 2 * lanes; }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
