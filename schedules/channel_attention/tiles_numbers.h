// The numbers of the schedule of channel attention in tiles. No Halide here: the runtime shares out tokens by them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct ChannelTiles {
    int map_tile;     // rows and columns of a tile of the map; rows of a tile of the output
    int token_tile;   // tokens of a tile of the output
    int step;         // tokens, respectively columns, that are staged and summed at a time
    int thread_tile;  // rows and columns, or tokens, of one thread

    // Machines differ in token_tile alone.
    static constexpr ChannelTiles defaults(Machine m) {
        ChannelTiles s{32, 64, 32, 4};
        while (s.shared_bytes() > m.shared_bytes && s.token_tile > s.thread_tile) {
            s.token_tile /= 2;
        }
        return s;
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = ChannelTiles;
        return std::array{
            Number<S>{"map_tile", &S::map_tile},
            Number<S>{"token_tile", &S::token_tile},
            Number<S>{"step", &S::step},
            Number<S>{"thread_tile", &S::thread_tile},
        };
    }

    // Floats from one row to the next in what is staged.
    static constexpr int padding = 4;

    // Shared memory of a thread block: two factors' steps and the sum, of the map or of the output.
    constexpr int64_t shared_bytes() const {
        const int64_t rows = map_tile + padding, map = 2 * step * rows + map_tile * map_tile,
                      output = step * rows + (step + padding) * token_tile + map_tile * token_tile;
        return std::max(map, output) * int64_t(sizeof(float));
    }

    // Steps of tokens to a span, so that all maps together give enough tiles to fill a device.
    constexpr int64_t span_steps(int64_t maps, int64_t n, int64_t d) const {
        constexpr int64_t kManyTiles = 512;
        const int64_t side = (d + map_tile - 1) / map_tile, steps = (n + step - 1) / step;
        const int64_t spans = std::max<int64_t>(1, kManyTiles / (maps * side * side));
        return std::max<int64_t>(1, (steps + spans - 1) / spans);
    }
};

}  // namespace muattn::schedule
