// The operations on a GPU: calls that were checked, by kernels that differ from those of the CPU in what they take.
#pragma once

#include "kernels/registry.h"
#include "spatial_attention/call.h"

namespace muattn::gpu {

muattn_status run_spatial_attention(const SpatialCall &call, const muattn_spatial_options &options, float rule_scale,
                                    int backend);

// tensors: q, k, v, out. scale: one number, or per_head H of them.
muattn_status run_channel_attention(const Kernel &kernel, const Argument *const *tensors, int64_t H, const float *scale,
                                    bool per_head, float output_multiplier);

// tensors: out_a, out_b, lse_a, lse_b, out, lse.
muattn_status run_merge(const Kernel &kernel, const Argument *const *tensors);

}  // namespace muattn::gpu
