// The numbers of the channels-first schedule. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"
#include "schedules/common/spans.h"

namespace muattn::schedule {

struct ChannelsFirst {
    int lanes;          // float32 lanes of a vector
    int map_rows;       // register tile of the map: rows ...
    int map_columns;    // ... by columns
    int tile_blocks;    // blocks of map_rows rows in a tile of the map
    int chunk_tokens;   // tokens that a tile of the map treats at once; a multiple of lanes
    int token_vectors;  // register tile of the output: vectors of tokens ...
    int channel_group;  // ... by channels
    int tile_tokens;    // tokens of an output tile; a multiple of token_vectors * lanes
    bool sum_together;  // whether the lanes of several dot products are added up together; not scalable ones: LLVM 21 fails on some

    static constexpr ChannelsFirst defaults(Machine m) {
        if (m.few_registers()) {
            return {m.lanes, 2, 2, 24, 256, 1, 4, 192, !m.scalable};
        }
        const bool wide = m.registers >= 32;
        // With 16 lanes a chunk is done sooner, and its lanes are added up as seldom as its copies allow.
        const bool large = m.lanes >= 16;
        return {m.lanes, wide ? 4 : 2, 6, wide ? 12 : 24, large ? 1024 : 256, 3, wide ? 8 : 4, large ? 384 : 192, !m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = ChannelsFirst;
        return std::array{
            Number<S>{"map_rows", &S::map_rows},
            Number<S>{"map_columns", &S::map_columns},
            Number<S>{"tile_blocks", &S::tile_blocks},
            Number<S>{"chunk_tokens", &S::chunk_tokens},
            Number<S>{"token_vectors", &S::token_vectors},
            Number<S>{"channel_group", &S::channel_group},
            Number<S>{"tile_tokens", &S::tile_tokens},
        };
    }

    constexpr int tile_rows() const { return tile_blocks * map_rows; }

    // Tokens of a chunk for n tokens, an int or an Expr: chunks of one size, whole vectors, and none for tokens that are not there.
    template<typename T>
    constexpr T chunk(T n) const {
        const T chunks = (n + (chunk_tokens - 1)) / chunk_tokens;
        return ((n + (chunks - 1)) / chunks + (lanes - 1)) / lanes * lanes;
    }

    // Floats from one row to the next in the copies of Q and K: one vector more, so that rows do not share places in the cache.
    constexpr int chunk_row() const { return chunk_tokens + lanes; }

    constexpr int64_t chunks(int64_t n) const { return (n + chunk(n) - 1) / chunk(n); }
    constexpr int64_t tiles(int64_t d) const { return (d + tile_rows() - 1) / tile_rows(); }

    // Chunks of a span.
    constexpr int64_t span_chunks(int64_t maps, int64_t n, int64_t d) const {
        const int64_t spans = spans_of_tokens(maps * tiles(d), maps * d * d, n);
        return (chunks(n) + spans - 1) / spans;
    }

    constexpr int64_t spans(int64_t maps, int64_t n, int64_t d) const {
        const int64_t of_span = span_chunks(maps, n, d);
        return (chunks(n) + of_span - 1) / of_span;
    }

    // At most what one task allocates: the stages that schedule_channels_first_cpu() keeps in memory.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, bool normalize, BlockBytes block_bytes) const {
        const int64_t padded = padded_rows(d), rows = round_up(padded, map_rows), columns = round_up(d, map_columns);
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        const int64_t sums = floats(chunk_row() * rows)                                // Q
                             + floats(chunk_row() * columns)                           // K
                             + (normalize ? 3 : 1) * floats(rows * columns)            // sum
                             + (normalize ? floats(lanes * rows) + floats(rows) : 0);  // QQ, QQ_chunk
        const int64_t map = 2 * floats(padded * d)                                     // S, E
                            + 3 * floats(padded)                                       // M, L, R
                            + (normalize ? 2 * floats(padded) + 2 * floats(d) : 0);    // S_QQ, rq, S_KK, rk
        const int64_t output = floats((tile_tokens + (token_vectors + 1) * lanes) * d);
        return std::max({sums, map, output});
    }

    // What is kept from one parallel step to the next, for all heads of the batch.
    template<typename BlockBytes>
    constexpr int64_t serial_bytes(int64_t maps, int64_t n, int64_t d, bool normalize, BlockBytes block_bytes) const {
        const int64_t rows = tiles(d) * padded_rows(d), sums = normalize ? 3 : 1;
        auto floats = [&](int64_t count) { return int64_t(block_bytes((count + 2 * lanes) * sizeof(float))); };
        return sums * floats(maps * rows * d * spans(maps, n, d))  // span_sum
               + floats(maps * round_up(d, channel_group) * d);    // P
    }

    // Rows of a tile: what the output's groups of channels ask for, in whole vectors.
    constexpr int64_t padded_rows(int64_t d) const {
        return round_up(std::min<int64_t>(tile_rows(), round_up(d, channel_group)), lanes);
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
