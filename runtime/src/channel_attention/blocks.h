// The choice among kernels of channel attention that differ in their blocks of map rows.
#pragma once

#include <utility>

#include "kernels/registry.h"
#include "schedules/channel_attention/channels_last_numbers.h"

namespace muattn {

// Of the kernels that suit maps of d, or, where a smaller build has none of these, of all, the first of those that compute the fewest rows
// past d.
template<typename Schedule>
const Kernel *find_blocks(int backend, Algorithm algorithm, Need need, int64_t d) {
    const Kernel *best = nullptr;
    std::pair<bool, int64_t> least;  // whether it does not suit, rows
    for (const int block_vectors : {0, 3, 2, 1}) {
        need.features.block_vectors = block_vectors;
        const Kernel *kernel = find_kernel(backend, algorithm, need);
        if (kernel == nullptr) {
            continue;
        }
        const auto numbers = schedule_of<Schedule>(*kernel, block_vectors);
        const std::pair<bool, int64_t> cost{!suits(numbers, d), numbers.padded(d)};
        if (best == nullptr || cost < least) {
            best = kernel;
            least = cost;
        }
    }
    return best;
}

}  // namespace muattn
