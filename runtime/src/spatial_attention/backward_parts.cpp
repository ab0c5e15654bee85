#include "backward_parts.h"

namespace muattn {

BackwardParts::BackwardParts(const SpatialBackwardCall &call, const schedule::SpatialKeyBlocks &schedule) {
    constexpr int64_t kTasks = 16;                  // enough for a common machine
    constexpr int64_t kPartialFloats = 1 << 22;     // of all tasks: 16 MB
    constexpr int64_t kRowsOfTask = 1 << 14;        // whose D and lse a kernel keeps
    constexpr int64_t kSharedMaskFloats = 1 << 19;  // of one task, where d_mask is a sum over keys
    const SpatialCall &forward = call.forward;
    const int64_t maps = forward.B * forward.Hk, group = forward.group();
    span = int64_t(std::max(schedule.span_keys / schedule.block_keys(), 1)) * schedule.block_keys();
    spans = std::max<int64_t>((forward.n_k + span - 1) / span, 1);
    chains_of_batch = forward.B, chains_of_heads = forward.Hk;
    if (call.wants_mask) {
        const Argument &mask = call.d_mask;
        const bool per_head = mask.size(1) != 1;
        chains_of_batch = mask.size(0) != 1 ? forward.B : 1;
        chains_of_heads = per_head ? forward.Hk : 1;
        keys_share_mask = mask.size(3) == 1 && forward.n_k > 1;
        mask_elements = (per_head ? group : 1) * mask.size(2) * mask.size(3);
        const int64_t maps_of_chain = maps / std::max<int64_t>(chains(), 1),
                      room = kPartialFloats / std::max<int64_t>(mask_elements * chains(), 1);
        parts = std::clamp<int64_t>(std::min((kTasks + chains() - 1) / chains(), room + 1), 1, maps_of_chain);
    }
    const int64_t tasks_without_shares = chains() * parts;
    if (tasks_without_shares < kTasks / 2 && !keys_share_mask) {
        shares = std::min((kTasks + tasks_without_shares - 1) / tasks_without_shares, spans);
    }
    first_in_scratch = !call.wants_q && call.d_scale != nullptr;
    partial_q = call.wants_q || first_in_scratch ? shares - (first_in_scratch ? 0 : 1) : 0;
    stripe = kRowsOfTask / group;
    if (partial_q > 0) {
        stripe = std::min(stripe, kPartialFloats / std::max<int64_t>(partial_q * maps * group * forward.d, 1));
    }
    // Stripes are those of a call in float32, and so are all sums.
    if (call.wants_q && !forward.q.is_float()) {
        rounded_in_task = shares == 1 && call.d_scale == nullptr;
        first_in_scratch = !rounded_in_task;
        partial_q = rounded_in_task ? 0 : shares;
    }
    if (keys_share_mask) {
        stripe = std::min(stripe, kSharedMaskFloats / (span * group));
    }
    constexpr int64_t kLeastRows = 32;
    stripe = std::clamp(stripe / schedule.block_queries * schedule.block_queries, kLeastRows,
                        std::max(forward.n_q, kLeastRows));
}

}  // namespace muattn
