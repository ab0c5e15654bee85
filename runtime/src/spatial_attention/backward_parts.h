// How a backward call is cut into kernel calls, from shapes alone, so that the bits do not depend on the number of threads.
//
// A kernel call computes a span of keys of one map (batch entry and key/value head) for a stripe of queries, and adds to the gradients. Stripes
// come one after the other. In one, a task has a share of the spans: it adds to a d_q of its own, share 0 to the caller's, and those are
// added up in order when all tasks are done. Maps whose masks are one share the mask's gradient: they are a chain, which is cut into
// parts; a task has all maps of a part, and a d_mask of its own.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backward_call.h"
#include "schedules/spatial_attention/key_blocks_numbers.h"

namespace muattn {

struct BackwardParts {
    int64_t span = 0, spans = 0;  // keys of a span; spans of a map
    int64_t shares = 1;           // of the spans
    int64_t stripe = 0;           // queries of a stripe, at most
    int64_t chains_of_batch = 0, chains_of_heads = 0;
    int64_t parts = 1;              // of a chain
    bool keys_share_mask = false;   // d_mask is a sum over keys
    int64_t partial_q = 0;          // d_q of how many shares are in scratch memory
    bool first_in_scratch = false;  // that of share 0 is, too
    bool rounded_in_task = false;   // d_q is in 16 bits, and a task has all that is added to it
    int64_t mask_elements = 0;      // of d_mask, of one chain
    static constexpr int64_t kChunk =
        64;  // rows whose sums of d_scale, d_sink and d_output_multiplier are one number each

    BackwardParts(const SpatialBackwardCall &call, const schedule::SpatialKeyBlocks &schedule);

    int64_t chains() const { return chains_of_batch * chains_of_heads; }
    int64_t tasks() const { return shares * parts * chains(); }
    int64_t first_span(int64_t share) const { return share * spans / shares; }
    int64_t first_map(int64_t part, int64_t maps_of_chain) const { return part * maps_of_chain / parts; }
    static int64_t chunks(int64_t rows) { return (rows + kChunk - 1) / kChunk; }
};

}  // namespace muattn
