// The numbers of the schedule of maps on channels-last arrays. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/channel_attention/channels_last_numbers.h"
#include "schedules/common/spans.h"

namespace muattn::schedule {

struct ChannelsLastMap {
    int lanes;          // float32 lanes of a vector
    int row_vectors;    // register tile: vectors of channels of x ...
    int column_group;   // ... by channels of y
    int tile_blocks;    // blocks of row_vectors * lanes channels of x: what one task computes
    int chunk_tokens;   // tokens that a task treats at once
    int block_vectors;  // 0, or row_vectors of a kernel with blocks of its own, as those of channels_last

    // The tiles of the forward's first half.
    static constexpr ChannelsLastMap defaults(Machine m, int block_vectors = 0) {
        const ChannelsLast forward = ChannelsLast::defaults(m, block_vectors);
        return {forward.lanes, forward.row_vectors, forward.column_group, forward.tile_blocks, forward.chunk_tokens, block_vectors};
    }

    // What may be overridden; with blocks of its own, not the register tile.
    static constexpr auto numbers() {
        using S = ChannelsLastMap;
        return std::array{
            Number<S>{"row_vectors", &S::row_vectors},
            Number<S>{"column_group", &S::column_group},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_tokens", &S::chunk_tokens},
        };
    }

    constexpr int block() const { return row_vectors * lanes; }
    constexpr int64_t tile() const { return int64_t(tile_blocks) * block(); }
    constexpr int64_t tiles(int64_t d) const { return (d + tile() - 1) / tile(); }
    constexpr int64_t padded(int64_t d) const { return round_up(d, block()); }

    // Tokens of a chunk for n tokens, an int or an Expr: chunks of one size.
    template<typename T>
    constexpr T chunk(T n) const {
        const T chunks = (n + (chunk_tokens - 1)) / chunk_tokens;
        return (n + (chunks - 1)) / chunks;
    }

    // Floats from one token to the next in a copy of so many channels: a vector more than whole blocks and groups of them, so that tokens
    // do not share places in the cache. An int or an Expr.
    template<typename T>
    constexpr T copy_row(T channels) const {
        return (channels + (block() + column_group - 1)) / lanes * lanes + 2 * lanes;
    }

    // Tokens of a span: they share a head among threads.
    constexpr int64_t spans(int64_t maps, int64_t n, int64_t d) const { return spans_of_tokens(maps * tiles(d), maps * d * d, n); }

    // At most what one task allocates.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, BlockBytes block_bytes) const {
        const int64_t columns = std::min(tile(), padded(d)) + block(), rows = round_up(d, column_group);
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(columns * rows)                      // S
               + floats(chunk_tokens * copy_row(columns))  // X
               + floats(chunk_tokens * copy_row(rows));    // Y
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

constexpr bool is_fixed(const ChannelsLastMap &s, int ChannelsLastMap::*number) {
    using S = ChannelsLastMap;
    return s.block_vectors != 0 && (number == &S::row_vectors || number == &S::column_group);
}

}  // namespace muattn::schedule
