// Numbers of the cases of `muattn check`: inputs, references, and how far a result is off.
#pragma once

#include <muattn/muattn.hpp>
#include <vector>

namespace muattn::cli {

using Floats = std::vector<float>;

// The same everywhere. In [-1, 1).
Floats numbers(const Shape &shape, unsigned seed);

// |got - want| / (1 + |want|).
double largest_error(const Floats &got, const std::vector<double> &want);

struct SpatialResult {
    std::vector<double> out, lse;  // [B, H, n_q, d_v], [B, H, n_q]
};

SpatialResult spatial_result(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                             const SpatialOptions &options);

}  // namespace muattn::cli
