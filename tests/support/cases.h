// A call of either operator as data: made, run, compared with the reference and, when that fails, printed.
#pragma once

#include <iosfwd>
#include <vector>

#include "muattn/muattn.h"
#include "support/reference.h"
#include "support/tensors.h"

namespace muattn::test {

struct SpatialCase {
    int64_t B = 1, H = 1, Hk = 1, n_q = 1, n_k = 1, d = 1, d_v = 1;
    muattn_scaling scaling = MUATTN_SCALING_SP;
    int64_t d_base = 0;
    std::vector<float> scale;  // empty: by the rule
    muattn_causal causal = MUATTN_CAUSAL_NONE;
    int64_t causal_offset = 0;
    std::vector<int64_t> causal_offsets;  // empty: causal_offset
    muattn_window window{};
    std::vector<int64_t> key_lengths;  // empty: not given
    enum Mask { no_mask, additive, boolean } mask = no_mask;
    std::array<bool, 4> mask_full{true, true, true, true};  // else the dimension is 1
    float softcap = 0;
    bool lse = true;
    Layout layout = dense();
    double amplitude = 1;  // of q, k and v

    // The options point into this case; they have no mask yet.
    muattn_spatial_options options() const;
    SpatialRules rules() const;
};

struct SpatialTensors {
    Tensor q, k, v, out, lse;
    Tensor mask{};                      // a boolean one holds 0 and 1 here
    std::vector<uint8_t> mask_bytes{};  // and dense bytes, which muattn gets, here
};

struct ChannelCase {
    int64_t B = 1, H = 1, n = 1, d = 1;
    muattn_scaling scaling = MUATTN_SCALING_SP;
    int64_t d_base = 0;
    std::vector<float> scale;              // empty: by the rule
    std::vector<float> output_multiplier;  // empty: by the rule; else one
    bool normalize = false;
    muattn_layout channels = MUATTN_CHANNELS_LAST;
    Layout layout = dense();
    double amplitude = 1;

    muattn_channel_options options() const;
    std::vector<double> scales() const;  // per head
    double multiplier() const;
};

struct ChannelTensors {
    Tensor q, k, v, out;  // [B, H, n, d] or, with channels first, [B, H, d, n]
};

std::ostream &operator<<(std::ostream &out, const SpatialCase &c);
std::ostream &operator<<(std::ostream &out, const ChannelCase &c);

// Inputs are random, the output untouched.
SpatialTensors make_tensors(const SpatialCase &c);
ChannelTensors make_tensors(const ChannelCase &c);

muattn_status run(const SpatialCase &c, const SpatialTensors &t);
muattn_status run(const ChannelCase &c, const ChannelTensors &t);

// Runs the case on the current backend and expects: success, every element within the error model of the reference,
// nothing written but the output's elements, and a kernel of this backend as the one that ran. A call of few keys runs by the
// kernel for many as well.
void expect_agrees(const SpatialCase &c, const SpatialTensors &t);
void expect_agrees(const ChannelCase &c, const ChannelTensors &t);
inline void expect_agrees(const SpatialCase &c) { expect_agrees(c, make_tensors(c)); }
inline void expect_agrees(const ChannelCase &c) { expect_agrees(c, make_tensors(c)); }

}  // namespace muattn::test
