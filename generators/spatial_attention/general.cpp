// Spatial attention, forward: O = softmax(s Q K^T) V per head, softmax over the keys that a query sees.
//
// Online softmax over chunks of keys (Milakov and Gimelshein 2018; Rabe and Staats 2021): per query the state is
// the maximum m, the sum l and the unnormalised output o; a chunk contributes its own maximum M, sum L and product PV:
//   m' = max(m, M),  l' = l 2^(m-m') + L 2^(M-m'),  o' = o 2^(m-m') + PV 2^(M-m').
// Logits are kept in units of log 2, so that every exponential is a power of two.
//
// Causal and window masks and key lengths are one rule: query i sees key j if
//   j < key_length  and  window_first <= j - i < window_last,
// with three numbers for each batch entry.
// A tile of queries starts at the first key that its first row sees, so hidden blocks are not visited at all.
#include "general.h"
#include "generators/common/loads.h"
#include "generators/common/numbers.h"
#include "generators/common/prefetch.h"
#include "inputs.h"
#include "schedules/spatial_attention/general_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialGeneral : public SpatialAttentionGenerator<SpatialGeneral>, SpatialGeneralStages {
public:
    NumberParams<schedule::SpatialGeneral> numbers;

    void generate() {
        params = overridden(schedule::SpatialGeneral::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.chunk_keys % params.key_unroll == 0)
            << "chunk_keys must be a multiple of key_unroll";
        _halide_user_assert(params.value_group >= kStats) << "value_group must be at least " << kStats;
        const int block = params.block_rows(), tile = params.tile_rows();
        const int chunk = params.chunk_keys, group = params.value_group;

        // Keys that some row of the tile sees: [first, last). Of these, some row of the block sees [block_first, block_last).
        const Expr first_row = t * tile, block_row = first_row + x * block;
        const Expr n_visible = min(key_length(b), n_k());
        const Expr first = max(first_row + window_first, 0), block_first = max(block_row + window_first, 0);
        const Expr last = min(min(first_row + tile, n_q()) - 1 + window_last, n_visible);
        const Expr block_last = min(min(block_row + block, n_q()) - 1 + window_last, n_visible);
        r_e = RDom(0, d(), "r_e");
        r_j = RDom(0, chunk, "r_j");
        const Expr skipped = clamp(block_first - (first + c * chunk), 0, chunk);
        r_j.where(first + c * chunk + skipped + r_j < min(block_last, first + (c + 1) * chunk));
        r_gc = RDom({{0, (d_v() + group - 1) / group + 1}, {0, (n_k() + chunk - 1) / chunk}}, "r_gc");
        r_gc.where(first + r_gc.y * chunk < last);

        const Expr key = first + c * chunk + skipped + j, query = block_row + i, h_kv = h / heads_per_kv;
        Q_rows(e, i, x, t, h, b) = scaled_query(e, query, h, b);
        Q(i, e, x, t, h, b) = Q_rows(e, i, x, t, h, b);
        const Expr chunk_key = clamp(first + c * chunk + j, 0, last - 1);
        K(e, j, c, t, h, b) =
            of_kv(load_or_zero(e, d(), [&](const Expr &column) { return k(column, chunk_key, h_kv, b); }));
        V(e, j, c, t, h, b) =
            of_kv(load_or_zero(e, d_v(), [&](const Expr &column) { return v(column, chunk_key, h_kv, b); }));
        QK(i, j, c, x, t, h, b) += Q(i, r_e, x, t, h, b) * K(r_e, skipped + j, c, t, h, b);
        S(i, j, c, x, t, h, b) = select(in_window(query, key, b), likely(logit(query, key, last - 1)), kMasked);
        M(i, c, x, t, h, b) = kInitialMax;
        M(i, c, x, t, h, b) = max(M(i, c, x, t, h, b), S(i, r_j, c, x, t, h, b));
        P(i, j, c, x, t, h, b) = exp2_nonpositive(S(i, j, c, x, t, h, b) - M(i, c, x, t, h, b), get_target());
        L(i, c, x, t, h, b) += P(i, r_j, c, x, t, h, b);
        Expr value = V(e, skipped + r_j, c, t, h, b);
        if (with_guard) {
            value = guarded(value, S(i, r_j, c, x, t, h, b));
        }
        PV(i, e, c, x, t, h, b) += P(i, r_j, c, x, t, h, b) * value;

        state(i, g, x, t, h, b) = initial_state();
        state(i, r_gc.x, x, t, h, b) =
            next_state(state(i, r_gc.x, x, t, h, b), state(i, 0, x, t, h, b), r_gc.x, r_gc.y);

        // Where the state has row y * side + l. The min tells bounds inference how many blocks the last tile has.
        const int side = params.transpose_side(), block_sides = block / side;
        const Expr at_t = y / (tile / side), last_block = (n_q() - 1) / block;
        const Expr at_x =
            clamp(min(y / block_sides, last_block) - at_t * params.tile_blocks, 0, params.tile_blocks - 1);
        const Expr at_i = y % block_sides * side + l;
        std::vector<Expr> columns;
        for (int column = 0; column < group; column++) {
            columns.push_back(state(at_i, e / group + 1, at_x, at_t, h, b)[column]);
        }
        const FuncRef stats = state(at_i, 0, at_x, at_t, h, b);
        O(l, e, y, h, b) = normalised(mux(e % group, columns), stats[1]);
        const Expr o = O(row % side, e, row / side, h, b);
        if (with_lse) {
            LSE(l, y, h, b) = log_sum_exp(stats[0], stats[1]);
            out(e, row, h, b) = Tuple(o, LSE(row % side, row / side, h, b));
        } else {
            out(e, row, h, b) = o;
        }
        *output = out;
    }

    void schedule() {
        declare_shapes(out);
        if (using_autoscheduler()) {
            estimate(out);
        } else {
            query_array = ImageParam(q).parameter();
            schedule_spatial_general_cpu(*this, params);
            PrefetchEveryLine::of(get_pipeline());
        }
    }

private:
    // The logit of row i, which is query, and key j, which is key; last_key is the last that may be read.
    Expr logit(const Expr &query, const Expr &key, const Expr &last_key) {
        const Expr unmasked = capped(QK(i, j, c, x, t, h, b));
        if (with_mask == Mask::none) {
            return unmasked;
        }
        same_mask_rows = same_masks(1);
        dense_mask = dense_masks();
        const Expr mask_query = min(query, n_q() - 1), mask_key = max(min(likely(key), last_key), 0);
        bias_rows(j, i, c, x, t, h, b) = mask_bias(mask_query, mask_key, h, b);
        bias(i, j, c, x, t, h, b) = bias_rows(j, i, c, x, t, h, b);
        const Expr first_row = mask_bias(0, clamp(key, 0, last_key), h, b);
        const Expr result = masked(unmasked, select(same_mask_rows, first_row, bias(i, j, c, x, t, h, b)));
        return with_mask == Mask::any ? select(allowed(mask_query, mask_key, h, b), result, kMasked) : result;
    }

    // The state of group g before any chunk.
    Tuple initial_state() const {
        std::vector<Expr> start(params.value_group, 0.0f);
        start[0] = select(g == 0, initial_max(h), 0.0f);
        start[1] = select(g == 0, initial_sum(h), 0.0f);
        return Tuple(start);
    }

    // The state of a group after a chunk: old is what the group holds, stats what group 0 holds.
    Tuple next_state(const FuncRef &old, const FuncRef &stats, const Expr &group, const Expr &chunk) const {
        const Expr m = stats[0], M_c = M(i, chunk, x, t, h, b), m_new = max(m, M_c);
        const Expr keep = exp2_nonpositive(m - m_new, get_target()), add = exp2_nonpositive(M_c - m_new, get_target());
        std::vector<Expr> next{m_new, stats[1] * keep + L(i, chunk, x, t, h, b) * add, keep, add};
        next.resize(params.value_group, 0.0f);
        for (int column = 0; column < params.value_group; column++) {
            const Expr PV_c = PV(i, max(group - 1, 0) * params.value_group + column, chunk, x, t, h, b);
            next[column] = select(group > 0, likely(old[column] * stats[2] + PV_c * stats[3]), next[column]);
        }
        return Tuple(next);
    }

    schedule::SpatialGeneral params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialGeneral, spatial_attention_general)
