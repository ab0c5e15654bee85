// The numbers of the channel attention schedule. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <cstdint>

#include "machine.h"

namespace muattn::schedule {

struct ChannelAttentionSchedule {
    int lanes;         // float32 lanes of a vector
    int row_vectors;   // register tile: vectors of map rows (channels of Q) ...
    int column_group;  // ... by map columns (channels of K), in Q^T K
    int token_unroll;  // ... by tokens, in P V
    int tile_blocks;   // blocks of row_vectors * lanes map rows in a tile: what one task computes
    int chunk_tokens;  // tokens that a tile treats at once

    static constexpr ChannelAttentionSchedule defaults(Machine m) {
        if (m.lanes == 1) {
            return {1, 1, 1, 1, 16, 64};
        }
        const bool wide = m.registers >= 32;
        return {m.lanes, wide ? 3 : 2, wide ? 8 : 6, wide ? 8 : 6, m.lanes >= 16 ? 2 : 6, 128};
    }

    // {row_vectors, column_group, token_unroll, tile_blocks, chunk_tokens}; 0 keeps what is there. cmake/kernels.cmake
    // lists the same names in the same order.
    constexpr void override_with(const int *p) {
        int *const fields[] = {&row_vectors, &column_group, &token_unroll, &tile_blocks, &chunk_tokens};
        for (int *field : fields) {
            *field = *p != 0 ? *p : *field;
            p++;
        }
    }

    constexpr int block_rows() const { return row_vectors * lanes; }
    constexpr int tile_rows() const { return tile_blocks * block_rows(); }
    constexpr int64_t tiles(int64_t d) const { return (d + tile_rows() - 1) / tile_rows(); }

    // At most what one task allocates: the stages that schedule_channel_attention_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, bool normalize, BlockBytes block_bytes) const {
        const int64_t rows = std::min<int64_t>(tile_rows(), round_up(d, block_rows())) + block_rows();
        const int64_t columns = round_up(d, column_group), tokens = round_up(chunk_tokens, token_unroll);
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        const int64_t norms = 2 * (floats(rows) + floats(padded_row(columns)));  // QQ and KK, rq and rk
        return (normalize ? 4 : 2) * floats(rows * columns)                      // S, P
               + (normalize ? norms : 0) + floats(rows * tokens)                 // Q
               + floats(chunk_tokens * padded_row(columns))                      // K
               + floats(rows * tokens)                                           // R
               + 2 * floats(rows);                                               // M, L
    }

    // Floats from one token to the next in the copy of K.
    constexpr int64_t padded_row(int64_t columns) const { return round_up(columns, lanes) + lanes; }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
