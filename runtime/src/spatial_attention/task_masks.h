// The masks of a call as a kernel of a task takes them: the parts for some heads, queries and keys.
#pragma once

#include "call.h"
#include "kernels/tasks.h"

namespace muattn {

// Heads [h, h + heads) of batch entry b, queries [query, query + queries), keys [key, key + keys).
struct MaskPart {
    int64_t b, h, heads, query, queries, key, keys;
};

// Both kinds; the one that the call has not lets everything pass.
void bind_masks(TaskArguments &arguments, const SpatialCall &call, const MaskPart &part);

}  // namespace muattn
