// The numbers of the schedule of spatial attention with split keys. No Halide here: the runtime sizes scratch memory with them.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct SpatialSplitKeys {
    int lanes;          // float32 lanes of a vector
    int block_rows;     // rows, pairs of a query and a head, that a task treats at once ...
    int key_unroll;     // ... by keys, in Q K^T
    int value_vectors;  // ... by vectors of columns, in P V
    int group_keys;     // keys that P V sums in registers before it moves to the next columns; it prefetches the next group
    int prefetch_keys;  // keys ahead of those in use that Q K^T prefetches; a multiple of key_unroll
    int span_keys;      // keys of a span: what one task computes; a multiple of lanes and of group_keys
    bool sum_together;  // whether the lanes of several dot products are added up together; not scalable ones: LLVM 21 fails on some

    static constexpr SpatialSplitKeys defaults(Machine m) {
        if (m.few_registers()) {
            return {m.lanes, 4, 1, 1, 8, 16, 256, !m.scalable};
        }
        const bool wide = m.registers >= 32, large = m.lanes >= 16;
        return {m.lanes, 4, wide ? 4 : 2, wide ? 4 : 2, large ? 16 : 8, 16, large ? 1024 : 256, !m.scalable};
    }

    // What may be overridden.
    static constexpr auto numbers() {
        using S = SpatialSplitKeys;
        return std::array{
            Number<S>{"block_rows", &S::block_rows},
            Number<S>{"key_unroll", &S::key_unroll},
            Number<S>{"value_vectors", &S::value_vectors},
            Number<S>{"group_keys", &S::group_keys},
            Number<S>{"prefetch_keys", &S::prefetch_keys},
            Number<S>{"span_keys", &S::span_keys},
        };
    }

    constexpr int64_t blocks(int64_t rows) const { return (rows + block_rows - 1) / block_rows; }
    constexpr int64_t spans(int64_t n_k) const { return (n_k + span_keys - 1) / span_keys; }

    // At most what one task allocates: the stages that schedule_spatial_split_keys_cpu() keeps in memory.
    // block_bytes: what an allocation of that many bytes takes.
    template<typename BlockBytes>
    constexpr int64_t scratch_bytes(int64_t d_v, BlockBytes block_bytes) const {
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return 5 * floats(block_rows * (span_keys + lanes))                      // QK, bias, S, P, W
               + 4 * floats(block_rows * lanes)                                  // lane_max, M, lane_sum, L
               + 2 * floats(block_rows * round_up(d_v, value_vectors * lanes));  // PV, PV_part
    }

    // What is kept from one parallel step to the next, for all key/value heads of the batch.
    template<typename BlockBytes>
    constexpr int64_t serial_bytes(int64_t maps, int64_t rows, int64_t n_k, int64_t d, int64_t d_v, BlockBytes block_bytes) const {
        const int64_t all_rows = maps * blocks(rows) * block_rows;
        auto floats = [&](int64_t n) { return int64_t(block_bytes((n + 2 * lanes) * sizeof(float))); };
        return 2 * floats(blocks(rows) * block_rows)                       // query, head
               + floats(all_rows * round_up(d, lanes))                     // Q
               + 3 * floats(all_rows * spans(n_k) * round_up(d_v, lanes))  // partial
               + floats(all_rows * spans(n_k))                             // weight
               + 3 * floats(all_rows)                                      // m_all, l_all, LSE
               + floats(all_rows * round_up(d_v, lanes));                  // merged
    }

    static constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }
};

}  // namespace muattn::schedule
