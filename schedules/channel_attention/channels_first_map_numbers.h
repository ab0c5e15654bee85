// The numbers of the schedule of maps on channels-first arrays. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/common/spans.h"

namespace muattn::schedule {

struct ChannelsFirstMap {
    int lanes;          // float32 lanes of a vector
    int map_rows;       // register tile: channels of x ...
    int map_columns;    // ... by channels of y
    int tile_blocks;    // blocks of map_rows channels of x: what one task computes
    int chunk_tokens;   // tokens that a task treats at once; a multiple of lanes
    bool sum_together;  // as in channels_first

    // The tiles of the forward's first half.
    static constexpr ChannelsFirstMap defaults(Machine m) {
        const ChannelsFirst forward = ChannelsFirst::defaults(m);
        return {forward.lanes, forward.map_rows, forward.map_columns, forward.tile_blocks, forward.chunk_tokens, forward.sum_together};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = ChannelsFirstMap;
        return std::array{
            Number<S>{"map_rows", &S::map_rows},
            Number<S>{"map_columns", &S::map_columns},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_tokens", &S::chunk_tokens},
        };
    }

    constexpr int64_t tile() const { return int64_t(tile_blocks) * map_rows; }
    constexpr int64_t tiles(int64_t d) const { return (d + tile() - 1) / tile(); }
    constexpr int64_t padded(int64_t d) const { return d; }
    constexpr int64_t spans(int64_t maps, int64_t n, int64_t d) const { return spans_of_tokens(maps * tiles(d), maps * d * d, n); }

    // Tokens of a chunk for n tokens, an int or an Expr: chunks of one size, whole vectors, and none for tokens that are not there.
    template<typename T>
    constexpr T chunk(T n) const {
        const T chunks = (n + (chunk_tokens - 1)) / chunk_tokens;
        return ((n + (chunks - 1)) / chunks + (lanes - 1)) / lanes * lanes;
    }

    // Floats from one row to the next in the copies: one vector more, so that rows do not share places in the cache.
    constexpr int chunk_row() const { return chunk_tokens + lanes; }

    // At most what one task allocates.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, BlockBytes block_bytes) const {
        const int64_t rows = round_up(std::min(tile(), d + lanes), map_rows) + lanes, columns = round_up(d, map_columns);
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return floats(chunk_row() * rows)       // X
               + floats(chunk_row() * columns)  // Y
               + floats(rows * columns);        // S
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
