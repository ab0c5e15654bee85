// The numbers of the spatial attention schedule. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <cstdint>

#include "machine.h"

namespace muattn::schedule {

struct SpatialAttentionSchedule {
    int lanes;        // float32 lanes of a vector
    int row_vectors;  // register tile: vectors of query rows ...
    int key_unroll;   // ... by keys, in Q K^T
    int value_group;  // ... by columns of V, in P V
    int tile_blocks;  // blocks of row_vectors * lanes rows in a tile: what one task computes
    int chunk_keys;   // keys that a tile treats at once; a multiple of key_unroll
    int span_chunks;  // chunks in a span, at least: what one task of the split variant computes

    static constexpr SpatialAttentionSchedule defaults(Machine m) {
        if (m.lanes == 1) {
            return {1, 1, 1, 4, 1, 16, 4};
        }
        const bool wide = m.registers >= 32;
        return {m.lanes, 3, wide ? 8 : 4, wide ? 8 : 4, m.lanes >= 16 ? 4 : 8, 256, 4};
    }

    // Of the split variant: its tile is one vector of rows, its chunk small enough for the first-level cache.
    static constexpr SpatialAttentionSchedule split_defaults(Machine m) {
        return {m.lanes, 1, 8, 8, 1, 64, 8};
    }

    // {row_vectors, key_unroll, value_group, tile_blocks, chunk_keys, span_chunks}; 0 keeps what is there. cmake/kernels.cmake lists
    // the same names in the same order.
    constexpr void override_with(const int *p) {
        int *const fields[] = {&row_vectors, &key_unroll, &value_group, &tile_blocks, &chunk_keys, &span_chunks};
        for (int *field : fields) {
            *field = *p != 0 ? *p : *field;
            p++;
        }
    }

    constexpr int block_rows() const { return row_vectors * lanes; }
    constexpr int tile_rows() const { return tile_blocks * block_rows(); }

    // At most what one task allocates: the stages that schedule_spatial_attention_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t n_q, int64_t d, int64_t d_v, BlockBytes block_bytes) const {
        const int64_t rows = std::min<int64_t>(tile_rows(), round_up(n_q, block_rows())) + block_rows();
        const int64_t columns = round_up(d_v, value_group), groups = columns / value_group;
        const int64_t block = block_rows();
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(rows * d)                             // Q
               + (value_group + 2) * floats(rows * groups)  // state
               + floats(chunk_keys * padded_row(d))         // K
               + floats(chunk_keys * padded_row(columns))   // V
               + 4 * floats(block * chunk_keys)             // S, P, bias, allowed
               + 2 * floats(block)                          // M, L
               + floats(rows * columns) + floats(rows);     // O, LSE
    }

    // Tasks of the split variant for one key/value head.
    constexpr int64_t split_tasks(int64_t rows, int64_t n_k) const { return tiles(rows) * spans(n_k); }

    // What the split variant keeps from one parallel step to the next, for all key/value heads of the batch.
    template<typename BlockBytes>
    constexpr int64_t split_serial_bytes(int64_t maps, int64_t rows, int64_t n_k, int64_t d, int64_t d_v, BlockBytes block_bytes) const {
        const int64_t all_rows = maps * tiles(rows) * tile_rows(), columns = round_up(d_v, value_group), groups = columns / value_group;
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return 2 * floats(all_rows)                                          // query, head
               + floats(all_rows * d)                                        // Q
               + (value_group + 2) * floats(all_rows * groups * spans(n_k))  // partial
               + 2 * floats(all_rows)                                        // m_all, LSE
               + (value_group + 1) * floats(all_rows * groups)               // merged
               + floats(all_rows * columns);                                 // O
    }

    constexpr int64_t tiles(int64_t rows) const { return (rows + tile_rows() - 1) / tile_rows(); }
    // Chunks of a span: span_chunks, or more where that would make too many spans to keep.
    constexpr int64_t chunks_per_span(int64_t n_k) const {
        constexpr int64_t kMaxSpans = 64;
        const int64_t chunks = (n_k + chunk_keys - 1) / chunk_keys;
        return std::max<int64_t>(span_chunks, (chunks + kMaxSpans - 1) / kMaxSpans);
    }
    constexpr int64_t spans(int64_t n_k) const {
        const int64_t span_keys = chunks_per_span(n_k) * chunk_keys;
        return (n_k + span_keys - 1) / span_keys;
    }

    // Floats from one key to the next in the copies of K and V.
    constexpr int64_t padded_row(int64_t d) const { return round_up(d, lanes) + 2 * lanes; }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
