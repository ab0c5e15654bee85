// The numbers of the schedules of what is done with the rows of a map. No Halide here: the runtime shares out rows by them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct ChannelMapRows {
    int lanes;      // float32 lanes of a vector
    int tile_rows;  // rows of a task, at most; a multiple of lanes

    static constexpr ChannelMapRows defaults(Machine m) { return {m.lanes, 64}; }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = ChannelMapRows;
        return std::array{Number<S>{"tile_rows", &S::tile_rows}};
    }

    // Side of the square blocks in which maps are transposed; as spatial attention's.
    constexpr int transpose_side() const { return std::min(lanes, 4); }
    // Floats from one row of such a block to the next: of scalable vectors, 4 would be a stride at which loads are wrong.
    constexpr int transpose_row(bool scalable) const { return transpose_side() + (scalable ? 1 : 0); }

    // At most what one task allocates, of which the last may have more rows, with those that fill up a block: softmax's is the most, but for the sums of columns of the gradient.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t last_rows, int64_t d, BlockBytes block_bytes) const {
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        const int64_t columns = (d + lanes - 1) / lanes * lanes;
        const int64_t rows = std::max<int64_t>(tile_rows, last_rows);
        return floats(rows * d) + 6 * floats(rows) + 3 * floats(columns) + floats(columns * (lanes + 1));
    }
};

}  // namespace muattn::schedule
