// Spatial attention, forward, for few queries against many keys (decoding with a key/value cache): the keys are split
// into spans, so that every thread has work, and the spans' softmax states are merged at the end.
//
// The rows of a block are (query, head) pairs that share a key/value head, so its keys and values are read from memory
// once. Columns of d and d_v lie in the vector lanes: with few rows a key costs more to load than to use. Each span p has
// its maximum m_p, sum l_p and unnormalised output o_p; with m* the largest m_p, the output is
//   sum_p 2^(m_p - m*) o_p / sum_p 2^(m_p - m*) l_p.
#include "generators/common/loads.h"
#include "generators/common/numbers.h"
#include "generators/common/prefetch.h"
#include "inputs.h"
#include "schedules/spatial_attention/split_keys_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialSplitKeys : public SpatialAttentionGenerator<SpatialSplitKeys>, SpatialSplitKeysStages {
public:
    NumberParams<schedule::SpatialSplitKeys> numbers;

    void configure() {
        SpatialAttentionGenerator::configure();
        if (kv_type == Element::int8) {
            k_scale = add_input<Buffer<float, 3>>("k_scale");  // (n_k, head, batch)
            v_scale = add_input<Buffer<float, 3>>("v_scale");
        }
    }

    void generate() {
        params = overridden(schedule::SpatialSplitKeys::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.prefetch_keys % params.key_unroll == 0)
            << "prefetch_keys must be a multiple of key_unroll";
        const int block = params.block_rows, lanes = params.lanes, span = params.span_keys;

        // Keys that some query sees: [first, last). Here h counts key/value heads.
        const Expr rows = n_q() * heads_per_kv, first = max(window_first, 0);
        const Expr last = min(n_q() - 1 + window_last, min(key_length(b), n_k()));
        const Expr span_first = first + p * span, keys = last - span_first;

        const Expr block_row = min(x * block + i, rows - 1);
        query(i, x) = block_row % n_q();
        head(i, x) = block_row / n_q();
        const Expr row_query = clamp(query(i, x), 0, n_q() - 1);
        const Expr row_head = h * heads_per_kv + clamp(head(i, x), 0, heads_per_kv - 1);
        Q(e, i, x, h, b) = select(e < d(), scaled_query(e, row_query, row_head, b), 0.0f);

        const Expr key = clamp(span_first + j, 0, last - 1);
        const RDom r_v(0, (d() + lanes - 1) / lanes, "r_v"), r_l(0, lanes, "r_l");
        const Expr column = r_v * lanes + l;
        // 0 past d, as Q is: lanes are summed, and 0 times NaN is NaN.
        K(e, j, p, h, b) = of_kv(load_or_zero(e, d(), [&](const Expr &inside) { return k(inside, key, h, b); }));
        // The schedule has code of its own for whole groups, which need no mask.
        whole_groups = d_v() % (params.value_vectors * lanes) == 0;
        const Expr value_in_place = v(unsafe_promise_clamped(e, 0, d_v() - 1), key, h, b);
        V(e, j, p, h, b) = of_kv(load_where(whole_groups || likely(e < d_v()), value_in_place));
        products(l, i, j, x, p, h, b) += Q(column, i, x, h, b) * K(column, j, p, h, b);
        QK(j, i, x, p, h, b) += products(r_l, i, j, x, p, h, b);
        const Expr read_key = max(min(likely(span_first + j), last - 1), 0);
        const Expr product = QK(j, i, x, p, h, b);
        Expr logit = capped(k_scale != nullptr ? product * (*k_scale)(read_key, h, b) : product);
        if (with_mask != Mask::none) {
            dense_mask = dense_masks();
            bias(j, i, x, p, h, b) = mask_bias(row_query, read_key, row_head, b);
            logit = masked(logit, bias(j, i, x, p, h, b));
        }
        if (with_mask == Mask::any) {
            logit = select(allowed(row_query, key, row_head, b), logit, kMasked);
        }
        S(j, i, x, p, h, b) = select(in_window(row_query, span_first + j, b), logit, kMasked);

        RDom r_s(0, span / lanes, "r_s");
        r_s.where(r_s * lanes < keys);
        lane_max(l, i, x, p, h, b) = kInitialMax;
        lane_max(l, i, x, p, h, b) = max(lane_max(l, i, x, p, h, b), S(r_s * lanes + l, i, x, p, h, b));
        M(i, x, p, h, b) = kInitialMax;
        M(i, x, p, h, b) = max(M(i, x, p, h, b), lane_max(r_l, i, x, p, h, b));
        P(j, i, x, p, h, b) = exp2_nonpositive(S(j, i, x, p, h, b) - M(i, x, p, h, b), get_target());
        lane_sum(l, i, x, p, h, b) += P(r_s * lanes + l, i, x, p, h, b);
        L(i, x, p, h, b) += lane_sum(r_l, i, x, p, h, b);

        values_have_scales = v_scale != nullptr;
        Expr weight_of_value = P(j, i, x, p, h, b);
        if (values_have_scales) {  // that of a hidden one may be NaN
            const Expr scaled = weight_of_value * (*v_scale)(read_key, h, b);
            weight_of_value = select(S(j, i, x, p, h, b) == kMasked, 0.0f, scaled);
        }
        W(j, i, x, p, h, b) = weight_of_value;
        RDom r_j(0, params.group_keys, "r_j");
        const Expr j_v = c * params.group_keys + r_j;
        r_j.where(j_v < keys);
        Expr value = V(e, j_v, p, h, b);
        if (with_guard) {
            value = guarded(value, S(j_v, i, x, p, h, b));
        }
        PV_part(e, i, c, x, p, h, b) += W(j_v, i, x, p, h, b) * value;
        r_c = RDom(0, span / params.group_keys, "r_c");
        r_c.where(r_c * params.group_keys < keys);
        PV(e, i, x, p, h, b) += PV_part(e, i, r_c, x, p, h, b);
        partial(e, i, x, p, h, b) = Tuple(PV(e, i, x, p, h, b), M(i, x, p, h, b), L(i, x, p, h, b));

        r_p = RDom(0, (n_k() + span - 1) / span, "r_p");
        m_all(i, x, h, b) = initial_max(row_head);
        m_all(i, x, h, b) = max(m_all(i, x, h, b), partial(0, i, x, r_p, h, b)[1]);
        weight(i, x, p, h, b) = exp2_nonpositive(partial(0, i, x, p, h, b)[1] - m_all(i, x, h, b), get_target());
        l_all(i, x, h, b) = initial_sum(row_head, m_all(i, x, h, b));
        l_all(i, x, h, b) += partial(0, i, x, r_p, h, b)[2] * weight(i, x, r_p, h, b);
        merged(e, i, x, h, b) += partial(e, i, x, r_p, h, b)[0] * weight(i, x, r_p, h, b);

        const Expr merged_row = h % heads_per_kv * n_q() + row, h_kv = h / heads_per_kv;
        const Expr at_i = merged_row % block, at_x = merged_row / block;
        const Expr o = normalised(merged(e, at_i, at_x, h_kv, b), l_all(at_i, at_x, h_kv, b));
        if (with_lse) {
            LSE(i, x, h, b) = log_sum_exp(m_all(i, x, h, b), l_all(i, x, h, b));
            out(e, row, h, b) = Tuple(o, LSE(at_i, at_x, h_kv, b));
        } else {
            out(e, row, h, b) = o;
        }
        *output = out;

        const Expr blocks = (rows + block - 1) / block;
        for (Func *stage : {&merged, &l_all, &m_all, &LSE}) {
            if (stage->defined()) {
                stage->bound(x, 0, blocks).bound(i, 0, block).bound(h, 0, k.dim(2).extent());
            }
        }
    }

    void schedule() {
        declare_shapes(out);
        for (auto *of_rows : {k_scale, v_scale}) {
            for (int dim = 0; of_rows != nullptr && dim < 3; dim++) {
                of_rows->dim(dim).set_min(0);
            }
            if (of_rows != nullptr) {
                of_rows->dim(0).set_stride(Expr());
            }
        }
        key_array = ImageParam(k).parameter();
        value_array = ImageParam(v).parameter();
        schedule_spatial_split_keys_cpu(*this, params);
        PrefetchEveryLine::of(get_pipeline());
    }

private:
    Input<Buffer<float, 3>> *k_scale = nullptr, *v_scale = nullptr;  // of each row, where they are int8
    schedule::SpatialSplitKeys params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialSplitKeys, spatial_attention_split_keys)
