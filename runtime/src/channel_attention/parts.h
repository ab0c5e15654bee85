// The parts that channel attention's halves and gradients are made of: kernels on some tokens or rows of a head. Maps are d x d, and rows are
// channels of Q, columns channels of K and V.
#pragma once

#include "common/error.h"
#include "kernels/convert.h"
#include "kernels/registry.h"
#include "parts_call.h"

namespace muattn {

// What a call computes, in this order.
struct ChannelSteps {
    // Sums over tokens: of Q^T K and of d_out^T V; squares of channels.
    bool map = false, d_map = false, squares = false;
    // Of a map's rows.
    bool softmax = false, gradient = false, stats = false;
    // Tokens times a matrix.
    bool out = false, d_q = false, d_k = false, d_v = false;
    // The attention map is wanted for itself.
    bool attention_map = false;

    // The attention map, and the gradient of Q^T K, are needed with columns in the vector lanes.
    bool attention_columns() const { return attention_map || d_v; }
    bool gradient_columns() const { return d_k; }
    int64_t sums() const { return int64_t(map) + d_map; }
    int64_t products() const { return int64_t(out) + d_q + d_k + d_v; }
    bool rows() const { return softmax || gradient || stats || attention_columns(); }
    bool nothing() const { return sums() == 0 && !rows() && products() == 0; }
};

// The kernels of a call, and how it is cut into tasks: all of it follows from shapes and the kernels' schedules.
struct ChannelParts {
    const Kernel *map = nullptr, *product = nullptr, *squares = nullptr, *softmax = nullptr, *transpose = nullptr,
                 *gradient = nullptr, *stats = nullptr;  // null where the steps do not need it
    int64_t map_tile = 1, map_tiles = 1, spans = 1;      // rows of a map in a task of sums; spans of tokens
    int64_t row_tile = 1, row_tiles = 1;                 // rows of a map in a task of softmax and gradient
    int64_t token_group = 1, token_tiles = 1;            // tokens that a product treats together; its tasks
    int64_t padded = 1;                                  // rows of a map, with those that fill up vectors and blocks
    int64_t map_row = 1;                                 // floats from one column of a map to the next
    int64_t scratch_bytes = 0;                           // of a task's kernels, and of its copies
    Converter converter;                                 // of tokens; maps are float32

    int64_t map_floats(int64_t d) const { return d * map_row + padded; }
};

// MUATTN_UNSUPPORTED where the build lacks a kernel for it.
muattn_status choose_parts(ChannelParts &parts, const ChannelPartsCall &call, const ChannelSteps &steps, int backend);

// Runs the steps for all heads, and writes d_scale and d_output_multiplier. kernel: the call's, for muattn_last_kernel().
muattn_status run_parts(const ChannelPartsCall &call, const ChannelSteps &steps, const Kernel *ChannelParts::*kernel);

// Where !kHasChannelParts. A build that has none of these kernels leaves their code out.
inline muattn_status parts_not_built() {
    return fail(MUATTN_UNSUPPORTED, "this build has no kernels for gradients and halves of channel attention");
}

}  // namespace muattn
