// Spatial attention, forward, for few keys, all of which every query sees unless a mask hides them: all logits of a row are held
// at once, so that the softmax has no running state.
//   S = s Q K^T,  M = row maximum of S,  P = 2^(S - M),  L = row sum of P,  O = P V / L.
//
// Keys lie in the vector lanes of S and P, columns in those of O, and rows are broadcast: K is transposed, but neither Q nor
// O nor a mask is, and a sequence of 49 pays for 49 rows, not for whole vectors of them.
#include "generators/common/loads.h"
#include "generators/common/numbers.h"
#include "inputs.h"
#include "schedules/spatial_attention/few_keys_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialFewKeys : public SpatialAttentionGenerator<SpatialFewKeys>, SpatialFewKeysStages {
public:
    NumberParams<schedule::SpatialFewKeys> numbers;

    void generate() {
        _halide_user_assert(with_softcap == Softcap::never && !with_guard && with_mask != Mask::any)
            << "the algorithm for few keys has no softcap, no guarded values and one kind of mask";
        params = overridden(schedule::SpatialFewKeys::defaults(schedule::machine(machine)), numbers.values());
        const int lanes = params.lanes;

        // Register tiles reach past the last vector and the last row. What lies there was not computed: a multiplication by a
        // number below 2^-126, which it may be, takes Intel's processors a hundred cycles.
        const Expr last_row = n_q() - 1, z_key = min(z, vectors(n_k()) - 1), z_value = min(z, vectors(d_v()) - 1);
        const Expr h_kv = h / heads_per_kv, key = z * lanes + l, read_key = min(key, n_k() - 1);
        K_rows(e, l, z, h, b) = of_kv(k(min(likely(e), d() - 1), read_key, h_kv, b));
        K(l, e, z, h, b) = K_rows(e, l, z, h, b) * logit_scale(h);
        const RDom r_e(0, d(), "r_e");
        QK = in_each_tile("QK", q(r_e, min(row, last_row), h, b) * K(l, r_e, z_key, h, b));
        key_tile = least_cost(n_k());
        Expr logit = chosen(QK, key_tile);
        if (with_mask != Mask::none) {
            dense_mask = dense_masks();
            bias(j, row, h, b) = bias_of(load_where(likely(j < n_k()), mask_element(row, j, h, b)));
            logit = masked(logit, bias(z_key * lanes + l, min(row, mask_rows() - 1), h, b));
        }
        S(l, z, row, h, b) = select(key < n_k(), logit, kMasked);

        const RDom r_z(0, vectors(n_k()), "r_z"), r_l(0, lanes, "r_l");
        lane_max(l, row, h, b) = kInitialMax;
        lane_max(l, row, h, b) = max(lane_max(l, row, h, b), S(l, r_z, min(row, last_row), h, b));
        M(row, h, b) = initial_max(h);
        M(row, h, b) = max(M(row, h, b), lane_max(r_l, row, h, b));
        P(l, z, row, h, b) = exp2_nonpositive(S(l, z, row, h, b) - M(row, h, b), get_target());
        lane_sum(l, row, h, b) += P(l, r_z, min(row, last_row), h, b);
        L(row, h, b) = initial_sum(h, M(row, h, b));
        L(row, h, b) += lane_sum(r_l, row, h, b);

        const RDom r_j(0, n_k(), "r_j");
        V(l, j, z, h, b) =
            of_kv(load_or_zero(z * lanes + l, d_v(), [&](const Expr &column) { return v(column, j, h_kv, b); }));
        PV = in_each_tile("PV", P(r_j % lanes, r_j / lanes, min(row, last_row), h, b) * V(l, r_j, z_value, h, b));
        value_tile = least_cost(d_v());
        R(row, h, b) = normalised(1.0f, L(row, h, b));
        O(l, z, row, h, b) = chosen(PV, value_tile) * R(min(row, last_row), h, b);

        const Expr o = O(e % lanes, e / lanes, row, h, b);
        if (with_lse) {
            LSE(row, h, b) = log_sum_exp(M(row, h, b), L(row, h, b));
            out(e, row, h, b) = Tuple(o, LSE(row, h, b));
        } else {
            out(e, row, h, b) = o;
        }
        *output = out;
    }

    void schedule() {
        declare_shapes(out);
        schedule_spatial_few_keys_cpu(*this, params);
    }

private:
    Expr mask_rows() const {
        return with_mask == Mask::boolean ? boolean_mask.dim(1).extent() : additive_mask.dim(1).extent();
    }
    Expr vectors(const Expr &n) const { return (n + params.lanes - 1) / params.lanes; }

    // The sum of the terms, once for each register tile.
    std::vector<Func> in_each_tile(const std::string &name, const Expr &term) const {
        std::vector<Func> sums;
        for (int i = 0; i < params.tiles().count; i++) {
            sums.emplace_back(name + std::to_string(i));
            sums.back()(l, z, row, h, b) += term;
        }
        return sums;
    }
    // Conditions, for n keys or columns: the first that holds is that of the tile that costs least, padding included; the last
    // tile's is that none holds.
    std::vector<Expr> least_cost(const Expr &n) const {
        std::vector<Expr> costs, conditions;
        for (const auto &tile : params.tiles()) {
            costs.push_back((vectors(n) + tile.vectors - 1) / tile.vectors * (tile.vectors * tile.vector_cost));
        }
        for (auto tile = costs.begin(); tile + 1 != costs.end(); ++tile) {
            Expr least = costs.back();
            for (auto later = tile + 1; later != costs.end(); ++later) {
                least = min(least, *later);
            }
            conditions.push_back(*tile <= least);
        }
        return conditions;
    }
    Expr chosen(const std::vector<Func> &sums, const std::vector<Expr> &conditions) const {
        Expr result = sums.back()(l, z, row, h, b);
        for (size_t i = conditions.size(); i-- > 0;) {
            result = select(conditions[i], sums[i](l, z, row, h, b), result);
        }
        return result;
    }

    schedule::SpatialFewKeys params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialFewKeys, spatial_attention_few_keys)
