// The numbers of the schedule of spatial attention's variant of blocks. No Halide here.
#pragma once
#include <cstdint>

#include "machine.h"

namespace muattn::schedule {

// A thread block treats block_rows rows and block_keys keys at a time. Its threads stand in a grid: x over the keys, or over
// the columns of d_v, y over the rows.
struct SpatialAttentionBlockSchedule {
    int head_dim;
    int block_rows;
    int block_keys;
    int thread_rows;     // rows of one thread, in both products
    int thread_columns;  // columns of d_v of one thread
    int part_blocks;     // blocks of keys to a part, where the keys are split

    static constexpr SpatialAttentionBlockSchedule defaults(Machine m, int head_dim) {
        // As many columns to a thread as leave some 8 to 16 threads side by side, 32 at most.
        const int columns = head_dim <= 16 ? 2 : head_dim <= 48 ? 4 : 8, threads_x = head_dim / columns;
        SpatialAttentionBlockSchedule s{head_dim, 32, threads_x * 4, 4, columns, 8};
        while (s.shared_bytes() > m.shared_bytes && s.thread_keys() > 2) {
            s.block_keys /= 2;
        }
        while (s.shared_bytes() > m.shared_bytes && s.block_rows > s.thread_rows) {
            s.block_rows /= 2;
        }
        while (s.shared_bytes() > m.shared_bytes && s.thread_keys() > 1) {
            s.block_keys /= 2;
        }
        return s;
    }

    // {block_rows, block_keys, thread_rows, thread_columns, part_blocks}; 0 keeps what is there. cmake/kernels.cmake lists the
    // same names in the same order.
    constexpr void override_with(const int *p) {
        int *const fields[] = {&block_rows, &block_keys, &thread_rows, &thread_columns, &part_blocks};
        for (int *field : fields) {
            *field = *p != 0 ? *p : *field;
            p++;
        }
    }

    constexpr int threads_x() const { return head_dim / thread_columns; }
    constexpr int threads_y() const { return block_rows / thread_rows; }
    constexpr int thread_keys() const { return block_keys / threads_x(); }

    // Floats from one row to the next in what is staged: threads that read the same column of neighbouring rows find
    // it in different banks.
    static constexpr int padding = 4;

    // Shared memory of a thread block, at most.
    constexpr int64_t shared_bytes() const {
        const int64_t row = head_dim + padding, keys = block_keys + padding, groups = threads_x() + 1;
        const int64_t floats = block_rows * row                                                    // Q
                               + block_keys * row + block_keys * head_dim                          // K, V
                               + 2 * block_rows * keys + 2 * block_rows * groups + 2 * block_rows  // S, P, M_group, L_group, M, L
                               + block_rows * threads_x() * (thread_columns + 2);                  // state
        return floats * int64_t(sizeof(float));
    }
};

}  // namespace muattn::schedule
