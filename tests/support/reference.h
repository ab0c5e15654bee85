// Both attentions in double precision, straight from the formulas of muattn.h: what every numeric test compares with.
#pragma once

#include <cstdint>
#include <vector>

#include "support/tensors.h"

namespace muattn::test {

// ---- Spatial ----

// What a query sees, and how logits are scaled.
struct SpatialRules {
    std::vector<double> scale;  // per head
    muattn_causal causal = MUATTN_CAUSAL_NONE;
    int64_t causal_offset = 0;
    std::vector<int64_t> causal_offsets;  // per batch entry; empty: causal_offset
    muattn_window window{};
    std::vector<int64_t> key_lengths;  // per batch entry; empty: all keys
    const Tensor *mask = nullptr;      // dimensions full or 1
    bool mask_is_boolean = false;      // 0 hides; else it is added, and -inf hides
    double softcap = 0;                // 0: none
};

// One query's result, and the sizes that the error model of compare.h asks for.
struct SpatialRow {
    std::vector<double> out;  // d_v numbers
    double lse;
    double logit_size = 0;   // max over visible j of |s| sum_e |q_e k_je|
    double value_size = 0;   // max over visible j and e of |v_je|
    double capped_size = 0;  // max of the logits after softcap; tanh has a relative error of 5e-7, as four roundings
    int64_t visible = 0;     // keys
};

// Row (b, h, i) is number (b * H + h) * n_q + i.
std::vector<SpatialRow> spatial_reference(const Tensor &q, const Tensor &k, const Tensor &v, const SpatialRules &rules);

// Whether query i of n_q sees key j of n_k in batch entry b.
bool sees(const SpatialRules &rules, int64_t n_q, int64_t n_k, int64_t b, int64_t i, int64_t j);

// The table of muattn.h. d_base 0: not given.
double spatial_scale_by_rule(muattn_scaling scaling, int64_t d, int64_t d_base);

// ---- Channel ----

// One head's result. Sizes as above: by map row, and by token.
struct ChannelHead {
    std::vector<double> out;         // [n, d]
    std::vector<double> logit_size;  // [d]: max_j |s| sum_u |Q_ui K_uj|
    std::vector<double> value_size;  // [n]: max_j |o V_tj|
};

// Head (b, h) is number b * H + h. scale: per head.
std::vector<ChannelHead> channel_reference(const Tensor &q, const Tensor &k, const Tensor &v,
                                           const std::vector<double> &scale, double output_multiplier,
                                           bool normalize = false);

// The table of muattn.h.
double channel_scale_by_rule(int64_t n);
double channel_multiplier_by_rule(muattn_scaling scaling, int64_t d, int64_t d_base);

}  // namespace muattn::test
