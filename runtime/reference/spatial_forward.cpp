#include "reference/spatial_forward.h"

#include <cmath>
#include <limits>

#include "reference/softmax.h"
#include "reference/spatial_row.h"

namespace muattn::reference {
namespace {

struct SeenKeys {
    std::vector<int64_t> keys;
    std::vector<double> logits;  // after scale, softcap and mask
};

SeenKeys seen_keys(const SpatialInputs &in, const Query &query, SpatialRow &row) {
    SeenKeys seen;
    for (int64_t j = 0; j < in.n_k(); j++) {
        if (!sees(in, query, j)) {
            continue;
        }
        const Dot dot = scaled_dot(in, query, j);
        const double capped = with_softcap(in, dot.value), mask = mask_term(in, query, j);
        if (in.options.softcap > 0) {
            grow(row.capped_size, capped);
        }
        if (mask == -std::numeric_limits<double>::infinity()) {
            continue;
        }
        grow(row.logit_size, dot.size);
        grow(row.logit_size, mask);
        seen.keys.push_back(j);
        seen.logits.push_back(capped + mask);
    }
    row.logit_size += 2 * row.capped_size;
    row.visible = int64_t(seen.keys.size());
    return seen;
}

void add_values(const SpatialInputs &in, const Query &query, const SeenKeys &seen, const Softmax &softmax,
                SpatialRow &row) {
    const int64_t h_kv = in.kv_head(query.h);
    for (size_t x = 0; x < seen.keys.size(); x++) {
        for (int64_t e = 0; e < in.d_v(); e++) {
            const double v = in.value(query.b, h_kv, seen.keys[x], e);
            row.out[size_t(e)] += softmax.weights[x] * v;
            grow(row.value_size, v);
        }
    }
}

SpatialRow row_of(const SpatialInputs &in, const Query &query) {
    SpatialRow row;
    row.out.assign(size_t(in.d_v()), 0.0);
    SeenKeys seen = seen_keys(in, query, row);
    const float sink = in.options.sink != nullptr ? in.options.sink[query.h] : -std::numeric_limits<float>::infinity();
    if (std::isfinite(sink)) {  // one more logit, without a value
        grow(row.logit_size, double(sink));
        seen.logits.push_back(double(sink));
    }
    const Softmax softmax(seen.logits);
    add_values(in, query, seen, softmax, row);
    const double multiplier = spatial_multiplier(in);
    for (double &o : row.out) {
        o = multiplier * softmax.normalized(o);
    }
    row.value_size *= std::fabs(multiplier);
    row.lse = softmax.log_sum();
    return row;
}

}  // namespace

std::vector<SpatialRow> spatial_attention_forward(const muattn_tensor &q, const muattn_tensor &k,
                                                  const muattn_tensor &v, const muattn_spatial_options &options) {
    const SpatialInputs in = spatial_inputs(q, k, v, options);
    std::vector<SpatialRow> rows;
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            for (int64_t i = 0; i < q.shape[2]; i++) {
                rows.push_back(row_of(in, {b, h, i}));
            }
        }
    }
    return rows;
}

}  // namespace muattn::reference
