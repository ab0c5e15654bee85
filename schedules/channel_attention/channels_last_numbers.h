// The numbers of the channel attention schedule. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct ChannelsLast {
    int lanes;          // float32 lanes of a vector
    int row_vectors;    // register tile: vectors of map rows (channels of Q) ...
    int column_group;   // ... by map columns (channels of K), in Q^T K
    int token_unroll;   // ... by tokens, in P V
    int tile_blocks;    // blocks of row_vectors * lanes map rows in a tile: what one task computes
    int chunk_tokens;   // tokens that a tile treats at once
    int value_columns;  // columns of the map that P V sums in registers
    int block_vectors;  // 0, or row_vectors of a kernel with blocks of its own, which waste less at some d: 3, 2 or 1

    static constexpr ChannelsLast defaults(Machine m, int block_vectors = 0) {
        if (m.few_registers()) {
            const int vectors = block_vectors != 0 ? block_vectors : 1;
            return {m.lanes, vectors, 4 / vectors, 4 / vectors, 12 / vectors, 128, 128, block_vectors};
        }
        // LLVM fails an assertion where four vectors are scalable.
        const int vectors = block_vectors != 0 ? block_vectors : m.scalable ? 2
                                                                            : 4;
        const int others = (m.registers >= 32 ? 24 : 12) / vectors;
        const bool large = m.lanes >= 16;                                                             // such a machine has 1 MB and more of second-level cache for a map's tile
        const int columns = block_vectors == 2 || block_vectors == 1 ? std::min(others, 8) : others;  // for d = 32 and the like, without waste
        return {m.lanes, vectors, columns, others, (large ? 16 : 12) / vectors, 128, large ? 256 : 128, block_vectors};
    }

    // What may be overridden; with blocks of its own, not the register tile.
    static constexpr auto numbers() {
        using S = ChannelsLast;
        return std::array{
            Number<S>{"row_vectors", &S::row_vectors},
            Number<S>{"column_group", &S::column_group},
            Number<S>{"token_unroll", &S::token_unroll},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_tokens", &S::chunk_tokens},
            Number<S>{"value_columns", &S::value_columns},
        };
    }

    constexpr int block_rows() const { return row_vectors * lanes; }
    constexpr int tile_rows() const { return tile_blocks * block_rows(); }
    constexpr int64_t padded(int64_t d) const { return round_up(d, block_rows()); }  // rows that are computed for d
    constexpr int64_t tiles(int64_t d) const { return (d + tile_rows() - 1) / tile_rows(); }

    // At most what one task allocates: the stages that schedule_channels_last_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, bool normalize, BlockBytes block_bytes) const {
        const int64_t rows = std::min<int64_t>(tile_rows(), round_up(d, block_rows())) + block_rows();
        const int64_t columns = round_up(round_up(d, column_group), lanes), tokens = chunk_tokens + token_unroll;
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        const int64_t norms = floats(rows + block_rows()) + floats(rows) + 2 * floats(round_up(d, block_rows()));  // QQ, rq; KK, rk
        return 2 * floats(rows * columns)                                                                          // S, P
               + (normalize ? norms : 0) + floats(rows * tokens)                                                   // Q
               + floats(tokens * padded_row(columns))                                                              // K
               + floats(block_rows() * tokens)                                                                     // O_sum
               + 3 * floats(rows);                                                                                 // M, L, R
    }

    // Floats from one token to the next in the copy of K.
    constexpr int64_t padded_row(int64_t columns) const { return round_up(columns, lanes) + lanes; }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

// Whether a schedule of blocks, forward or of a half, is for maps of d. With blocks of one vector there is a load for each multiply-add, which
// pays only where d fits into that vector.
template<typename Schedule>
constexpr bool suits(const Schedule &s, int64_t d) {
    return s.block_vectors != 1 || d <= s.lanes;
}

// Whether blocks that are not whole may be read where they are: the mask is to take no register from the sums.
constexpr bool may_mask(Machine m, int block_vectors) { return m.has_mask_registers || block_vectors == 1; }

constexpr bool is_fixed(const ChannelsLast &s, int ChannelsLast::*number) {
    using S = ChannelsLast;
    return s.block_vectors != 0 && (number == &S::row_vectors || number == &S::column_group || number == &S::token_unroll);
}

}  // namespace muattn::schedule
