// Both operators in double, straight from their formulas, for dense tensors.
#pragma once

#include <muattn/muattn.h>

#include <vector>

namespace muattn::cli {

struct SpatialResult {
    std::vector<double> out, lse;  // [B, H, n_q, d_v], [B, H, n_q]
};

// options.mask, if any, is dense.
SpatialResult spatial_reference(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                const muattn_spatial_options &options);

std::vector<double> channel_reference(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                      const muattn_channel_options &options);

}  // namespace muattn::cli
