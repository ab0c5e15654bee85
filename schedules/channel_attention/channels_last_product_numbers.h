// The numbers of the schedule of tokens times a matrix, on channels-last arrays. No Halide here: the runtime shares out tokens by them.
#pragma once
#include <array>
#include <cstdint>

#include "schedules/channel_attention/channels_last_numbers.h"

namespace muattn::schedule {

struct ChannelsLastProduct {
    int lanes;          // float32 lanes of a vector
    int row_vectors;    // register tile: vectors of channels of the output ...
    int token_unroll;   // ... by tokens
    int tile_tokens;    // tokens of a task, at most
    int block_columns;  // summed channels whose rows of the matrix stay in the first-level cache
    int block_vectors;  // 0, or row_vectors of a kernel with blocks of its own, as those of channels_last

    // The tiles of the forward's second half.
    static constexpr ChannelsLastProduct defaults(Machine m, int block_vectors = 0) {
        const ChannelsLast forward = ChannelsLast::defaults(m, block_vectors);
        return {forward.lanes, forward.row_vectors, forward.token_unroll, 128, forward.value_columns, block_vectors};
    }

    // What may be overridden; with blocks of its own, not the register tile.
    static constexpr auto numbers() {
        using S = ChannelsLastProduct;
        return std::array{
            Number<S>{"row_vectors", &S::row_vectors},
            Number<S>{"token_unroll", &S::token_unroll},
            Number<S>{"tile_tokens", &S::tile_tokens},
            Number<S>{"block_columns", &S::block_columns},
        };
    }

    constexpr int block() const { return row_vectors * lanes; }
    constexpr int group() const { return token_unroll; }  // tokens that are treated together
    constexpr int64_t padded(int64_t d) const { return round_up(d, block()); }
    constexpr int64_t tiles(int64_t n) const { return (n + tile_tokens - 1) / tile_tokens; }

    // At most what one task allocates.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t, BlockBytes block_bytes) const {
        return int64_t(block_bytes((int64_t(block()) * (tile_tokens + 2 * token_unroll) + 2 * lanes) * sizeof(float)));  // sum_of_blocks
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

constexpr bool is_fixed(const ChannelsLastProduct &s, int ChannelsLastProduct::*number) {
    using S = ChannelsLastProduct;
    return s.block_vectors != 0 && (number == &S::row_vectors || number == &S::token_unroll);
}

}  // namespace muattn::schedule
