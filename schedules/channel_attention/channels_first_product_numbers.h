// The numbers of the schedule of tokens times a matrix, on channels-first arrays. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <array>
#include <cstdint>

#include "schedules/channel_attention/channels_first_numbers.h"

namespace muattn::schedule {

struct ChannelsFirstProduct {
    int lanes;          // float32 lanes of a vector
    int token_vectors;  // register tile: vectors of tokens ...
    int channel_group;  // ... by channels of the output
    int tile_tokens;    // tokens of a task, at most; a multiple of token_vectors * lanes

    // The tiles of the forward's second half.
    static constexpr ChannelsFirstProduct defaults(Machine m) {
        const ChannelsFirst forward = ChannelsFirst::defaults(m);
        return {forward.lanes, forward.token_vectors, forward.channel_group, forward.tile_tokens};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = ChannelsFirstProduct;
        return std::array{
            Number<S>{"token_vectors", &S::token_vectors},
            Number<S>{"channel_group", &S::channel_group},
            Number<S>{"tile_tokens", &S::tile_tokens},
        };
    }

    constexpr int group() const { return token_vectors * lanes; }  // tokens that are treated together
    constexpr int64_t padded(int64_t d) const { return d; }
    constexpr int64_t tiles(int64_t n) const { return (n + tile_tokens - 1) / tile_tokens; }

    // At most what one task allocates.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d, BlockBytes block_bytes) const {
        return int64_t(block_bytes(((tile_tokens + (token_vectors + 2) * lanes) * d + 2 * lanes) * sizeof(float)));  // X
    }
};

}  // namespace muattn::schedule
