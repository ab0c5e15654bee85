// The parts of which a row of spatial attention is made, as muattn.h defines them: which keys its query sees, its logits, the mask.
#pragma once

#include <cstdint>
#include <optional>

#include "reference/elements.h"
#include "reference/sizes.h"

namespace muattn::reference {

struct SpatialInputs {
    Elements q, k, v;
    std::optional<Elements> mask, k_scale, v_scale;
    muattn_spatial_options options;

    int64_t n_q() const { return q.size(2); }
    int64_t n_k() const { return k.size(2); }
    int64_t d() const { return q.size(3); }
    int64_t d_v() const { return v.size(3); }
    // The key/value head of a query head.
    int64_t kv_head(int64_t h) const { return h / (q.size(1) / k.size(1)); }
    double key(int64_t b, int64_t h, int64_t j, int64_t e) const {
        return k.at(b, h, j, e) * (k_scale ? k_scale->at(b, h, j, 0) : 1);
    }
    double value(int64_t b, int64_t h, int64_t j, int64_t e) const {
        return v.at(b, h, j, e) * (v_scale ? v_scale->at(b, h, j, 0) : 1);
    }
};

SpatialInputs spatial_inputs(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                             const muattn_spatial_options &options);

// Query i of head h of batch entry b.
struct Query {
    int64_t b, h, i;
};

// The logit scale s of a head: given, or by the rule.
double spatial_scale(const SpatialInputs &in, int64_t h);

// The output multiplier o: given, or by the rule.
double spatial_multiplier(const SpatialInputs &in);

// Whether causal, window and key_lengths let the query see key j.
bool sees(const SpatialInputs &in, const Query &query, int64_t j);

// s q_i . k_j, and |s| times the sum of the products' magnitudes.
Dot scaled_dot(const SpatialInputs &in, const Query &query, int64_t j);

// The logit after softcap.
double with_softcap(const SpatialInputs &in, double logit);

// What the mask adds to the logit: -inf where it hides the key, 0 where there is none.
double mask_term(const SpatialInputs &in, const Query &query, int64_t j);

}  // namespace muattn::reference
