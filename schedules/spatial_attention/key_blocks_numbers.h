// The numbers of the schedule of spatial attention's gradients. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct SpatialKeyBlocks {
    int lanes;           // float32 lanes of a vector
    int key_vectors;     // register tile: vectors of keys (a panel) ...
    int query_unroll;    // ... by queries, in Q K^T and dO V^T
    int column_unroll;   // ... by columns, in dS^T Q and P^T dO
    int column_vectors;  // register tile of dS K: vectors of columns ...
    int row_unroll;      // ... by queries
    int block_panels;    // panels of keys in a block
    int block_queries;   // queries of a block, at most
    int span_keys;       // keys that a kernel is called with
    bool scalable = false;

    static constexpr SpatialKeyBlocks defaults(Machine m) {
        if (m.few_registers()) {
            return {m.lanes, 1, 4, 4, 1, 4, 8, 96, 512, m.scalable};
        }
        if (m.registers >= 32) {
            return {m.lanes, 2, 8, 8, 2, 8, 3, 96, 512, m.scalable};
        }
        return {m.lanes, 3, 4, 4, 4, 3, 2, 96, 512, m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialKeyBlocks;
        return std::array{
            Number<S>{"key_vectors", &S::key_vectors},
            Number<S>{"query_unroll", &S::query_unroll},
            Number<S>{"column_unroll", &S::column_unroll},
            Number<S>{"column_vectors", &S::column_vectors},
            Number<S>{"row_unroll", &S::row_unroll},
            Number<S>{"block_panels", &S::block_panels},
            Number<S>{"block_queries", &S::block_queries},
            Number<S>{"span_keys", &S::span_keys},
        };
    }

    // Side of the square blocks in which keys are transposed: their 4 vectors of 4 stay in registers everywhere.
    constexpr int transpose_side() const { return std::min(lanes, 4); }
    // Floats from one row of such a block to the next.
    constexpr int transpose_row() const { return transpose_side() + (scalable ? 1 : 0); }

    constexpr int panel() const { return key_vectors * lanes; }
    constexpr int block_keys() const { return block_panels * panel(); }

    // Queries of a block: blocks of about one size, of whole tiles. For integers and for Halide's expressions.
    template<typename Int>
    Int block_rows(const Int &n_q) const {
        const Int blocks = (n_q + (block_queries - 1)) / block_queries;
        return (n_q + (blocks * row_unroll - 1)) / (blocks * row_unroll) * row_unroll;
    }
    // Columns of a row in copies: for whole register tiles, and not a power of two, as rows would share places of the cache.
    template<typename Int>
    Int padded_columns(const Int &d) const {
        const int whole = std::max(column_vectors * lanes, column_unroll);
        return (d + (whole - 1)) / whole * whole + std::max(lanes, 4);
    }

    // At most what one kernel call allocates: the stages that schedule_spatial_key_blocks_cpu() keeps in memory. heads: of the
    // group. block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t heads, int64_t n_q, int64_t n_k, int64_t d, int64_t d_v,
                                    BlockBytes block_bytes) const {
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        const int64_t rows = block_rows(n_q) + query_unroll, side = transpose_side();
        const int64_t panels = (n_k + panel() - 1) / panel(), keys = block_keys();
        const int64_t columns = padded_columns(d), columns_v = padded_columns(d_v);
        return 2 * floats((n_q + lanes) * heads)                    // D, lse2
               + floats(keys * columns) + floats(keys * columns_v)  // KT, VT
               + floats(keys * columns)                             // K
               + floats(rows * columns) + floats(rows * columns_v)  // Q, dO
               + 5 * floats(rows * keys)                            // P, dS, tanh, dZ, bias
               + floats(panels * panel() * (columns + columns_v))   // dKT, dVT
               + floats(0) + 6 * floats(side * transpose_row())     // K_rows, V_rows, dK_cols, dV_cols
               + floats(rows * block_panels)                        // seen
               + 2 * floats(block_panels)                           // queries_k, queries_v
               + floats(lanes);                                     // D_lanes
    }
};

}  // namespace muattn::schedule
