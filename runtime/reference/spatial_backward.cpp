#include "reference/spatial_backward.h"

#include <cmath>
#include <limits>

#include "reference/spatial_row.h"

namespace muattn::reference {
namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

size_t elements(const muattn_tensor &tensor) {
    size_t count = 1;
    for (const int64_t size : tensor.shape) {
        count *= size_t(size);
    }
    return count;
}

// What comes from outside for one query's row.
struct RowGradient {
    double lse, d_lse, D;
};

class Backward {
public:
    Backward(const SpatialInputs &inputs, const muattn_tensor &out, const muattn_tensor &lse,
             const muattn_tensor &d_out, const muattn_tensor *d_lse)
        : in(inputs), out_(out), lse_(lse), d_out_(d_out) {
        if (d_lse != nullptr) {
            d_lse_.emplace(*d_lse);
        }
    }

    void add_row(const Query &query, SpatialGradients &sums) const {
        const auto [b, h, i] = query;
        const RowGradient row = row_gradient(query);
        if (row.lse == kHidden) {  // it sees no key
            return;
        }
        sums.output_multiplier += row.D / multiplier_;
        for (int64_t j = 0; j < in.n_k(); j++) {
            const double mask = mask_term(in, query, j);
            if (sees(in, query, j) && mask != kHidden) {
                add_key(query, j, mask, row, sums);
            }
        }
        if (in.options.sink != nullptr) {
            sums.sink[size_t(h)] += std::exp(double(in.options.sink[h]) - row.lse) * (row.d_lse - row.D);
        }
    }

private:
    RowGradient row_gradient(const Query &query) const {
        const auto [b, h, i] = query;
        RowGradient row{lse_.at(b, h, i, 0), d_lse_ ? d_lse_->at(b, h, i, 0) : 0, 0};
        for (int64_t e = 0; e < in.d_v(); e++) {
            row.D += d_out_.at(b, h, i, e) * out_.at(b, h, i, e);
        }
        return row;
    }

    void add_key(const Query &query, int64_t j, double mask, const RowGradient &row, SpatialGradients &sums) const {
        const auto [b, h, i] = query;
        const int64_t h_kv = in.kv_head(h), Hk = in.k.size(1);
        const double t = scaled_dot(in, query, j).value, p = std::exp(with_softcap(in, t) + mask - row.lse);
        double dp = row.d_lse - row.D;
        const size_t q_row = size_t((b * in.q.size(1) + h) * in.n_q() + i),
                     k_row = size_t((b * Hk + h_kv) * in.n_k() + j);
        for (int64_t e = 0; e < in.d_v(); e++) {
            const double d_mean = multiplier_ * d_out_.at(b, h, i, e);  // by sum_j p_j v_j
            dp += d_mean * in.v.at(b, h_kv, j, e);
            sums.v[k_row * size_t(in.d_v()) + size_t(e)] += p * d_mean;
        }
        const double dz = p * dp, c = double(in.options.softcap);
        const double dt = c > 0 ? dz * (1 - std::pow(std::tanh(t / c), 2)) : dz, scale = spatial_scale(in, h);
        double product = 0;
        for (int64_t e = 0; e < in.d(); e++) {
            const double q_e = in.q.at(b, h, i, e), k_e = in.k.at(b, h_kv, j, e);
            product += q_e * k_e;
            sums.q[q_row * size_t(in.d()) + size_t(e)] += scale * dt * k_e;
            sums.k[k_row * size_t(in.d()) + size_t(e)] += scale * dt * q_e;
        }
        sums.scale[size_t(h)] += dt * product;
        if (!sums.mask.empty()) {
            sums.mask[mask_place(query, j)] += dz;
        }
    }

    // The mask's element for a query and a key: those of a dimension of extent 1 share one.
    size_t mask_place(const Query &query, int64_t j) const {
        const int64_t index[] = {query.b, query.h, query.i, j}, *shape = in.options.mask->shape;
        size_t place = 0;
        for (int dim = 0; dim < 4; dim++) {
            place = place * size_t(shape[dim]) + size_t(shape[dim] == 1 ? 0 : index[dim]);
        }
        return place;
    }

    const SpatialInputs &in;
    Elements out_, lse_, d_out_;
    std::optional<Elements> d_lse_;
    const double multiplier_ = spatial_multiplier(in);
};

}  // namespace

SpatialGradients spatial_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                            const muattn_spatial_options &options, const muattn_tensor &out,
                                            const muattn_tensor &lse, const muattn_tensor &d_out,
                                            const muattn_tensor *d_lse) {
    const SpatialInputs in = spatial_inputs(q, k, v, options);
    SpatialGradients sums;
    sums.q.resize(elements(q));
    sums.k.resize(elements(k));
    sums.v.resize(elements(v));
    sums.scale.resize(size_t(q.shape[1]));
    sums.sink.resize(size_t(q.shape[1]));
    if (options.mask != nullptr && options.mask->dtype != MUATTN_BOOL) {
        sums.mask.resize(elements(*options.mask));
    }
    const Backward backward(in, out, lse, d_out, d_lse);
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            for (int64_t i = 0; i < q.shape[2]; i++) {
                backward.add_row({b, h, i}, sums);
            }
        }
    }
    return sums;
}

}  // namespace muattn::reference
