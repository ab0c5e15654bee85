// The numbers of the schedule of spatial attention in blocks. No Halide here.
#pragma once
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

// A thread block treats block_rows rows and block_keys keys at a time. Its threads stand in a grid: x over the keys, or over
// the columns of d_v, y over the rows.
struct SpatialBlock {
    int max_d;
    int block_rows;
    int block_keys;
    int thread_rows;     // rows of one thread, in both products
    int thread_columns;  // columns of d_v of one thread
    int span_blocks;     // blocks of keys to a span, where the keys are split

    static constexpr SpatialBlock defaults(Machine m, int max_d) {
        // As many columns to a thread as leave some 8 to 16 threads side by side, 32 at most.
        SpatialBlock s{max_d, 32, 0, 4, max_d <= 16 ? 2 : max_d <= 48 ? 4
                                                                      : 8,
                       8};
        s.block_keys = s.threads_x() * 4;
        const auto too_large = [&] { return s.shared_bytes() > m.shared_bytes; };
        // First fewer keys to a thread, but two, then fewer rows, then wider threads, of which a block has fewer.
        while (too_large() && s.thread_keys() > 2) {
            s.block_keys /= 2;
        }
        while (too_large() && s.block_rows > 2 * s.thread_rows) {
            s.block_rows /= 2;
        }
        while (too_large() && s.thread_columns < 32) {
            s.thread_columns *= 2;
            s.thread_rows = 32 / s.thread_columns < 4 ? 32 / s.thread_columns : 4;  // registers: 32 sums, as above
            s.block_keys = s.threads_x();
        }
        while (too_large() && s.block_rows > 2) {
            s.block_rows /= 2;
            s.thread_rows = s.block_rows < s.thread_rows ? s.block_rows : s.thread_rows;
        }
        // What wider threads left free.
        while (s.thread_keys() < 4 && s.shared_bytes() + s.more_keys_bytes() <= m.shared_bytes) {
            s.block_keys *= 2;
        }
        return s;
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialBlock;
        return std::array{
            Number<S>{"block_rows", &S::block_rows},
            Number<S>{"block_keys", &S::block_keys},
            Number<S>{"thread_rows", &S::thread_rows},
            Number<S>{"thread_columns", &S::thread_columns},
            Number<S>{"span_blocks", &S::span_blocks},
        };
    }

    constexpr int threads_x() const { return max_d / thread_columns; }
    constexpr int threads_y() const { return block_rows / thread_rows; }
    constexpr int thread_keys() const { return block_keys / threads_x(); }

    // Floats from one row to the next in what is staged: threads that read the same column of neighbouring rows find
    // it in different banks.
    static constexpr int padding = 4;

    // What twice the keys would take in addition.
    constexpr int64_t more_keys_bytes() const {
        return block_keys * (max_d + padding + 2 * block_rows) * int64_t(sizeof(float));
    }

    // Shared memory of a thread block, at most.
    constexpr int64_t shared_bytes() const {
        const int64_t row = max_d + padding, keys = block_keys + padding, groups = threads_x() + 1;
        const int64_t floats = block_rows * row                                                    // Q
                               + block_keys * row                                                  // K, later V
                               + 2 * block_rows * keys + 2 * block_rows * groups + 2 * block_rows  // S, P, M_group, L_group, M, L
                               + block_rows * threads_x() * (thread_columns + 2);                  // state
        return floats * int64_t(sizeof(float));
    }
};

}  // namespace muattn::schedule
