// Statistics of the logits of spatial attention, per query, over the keys that it sees: after scale and softcap, before a mask is added.
// One head, and as many queries as the call gives; a runtime adds up rows.
//
// Chunks of keys come one after the other, as in general.cpp. With the maximum m so far and a chunk's maximum M, both in units of log 2,
// m' = max(m, M):
//   sum P           l' = l 2^(m-m') + L 2^(M-m')
//   sum P (S - m')  w' = (w + l (m - m')) 2^(m-m') + (W + L (M - m')) 2^(M-m')
#include "logit_stats.h"

#include "generators/common/loads.h"
#include "generators/common/numbers.h"
#include "generators/common/row_stats.h"
#include "logits.h"
#include "schedules/spatial_attention/logit_stats_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialLogitStats : public SpatialLogits<SpatialLogitStats>, SpatialLogitStatsStages {
public:
    NumberParams<schedule::SpatialLogitStats> numbers;

    // Query i sees key j if window_first <= j - i < window_last.
    Input<int32_t> window_first{"window_first"}, window_last{"window_last"};
    Output<Func> stats{"stats", std::vector<Type>(kRowSums, Float(32)), 1};

    void generate() {
        params = overridden(schedule::SpatialLogitStats::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.chunk_keys % params.key_unroll == 0)
            << "chunk_keys must be a multiple of key_unroll";
        const int block = params.block_rows(), chunk = params.chunk_keys;

        // Keys that some row of the block sees: [first, last).
        const Expr block_row = x * block, query = block_row + i;
        const Expr first = max(block_row + window_first, 0);
        const Expr last = min(min(block_row + block, n_q()) - 1 + window_last, n_k());
        const Expr skipped = clamp(first - c * chunk, 0, chunk);
        const auto keys_of_chunk = [&](const std::string &name) {
            RDom keys(0, chunk, name);
            keys.where(c * chunk + skipped + keys < min(last, (c + 1) * chunk));
            return keys;
        };
        r_e = RDom(0, d(), "r_e");
        r_m = keys_of_chunk("r_m");
        r_j = keys_of_chunk("r_j");
        r_c = RDom(0, (n_k() + chunk - 1) / chunk, "r_c");

        Q_rows(e, i, x) = scaled_query(e, query, 0, 0);
        Q(i, e, x) = Q_rows(e, i, x);
        const Expr chunk_key = clamp(c * chunk + j, 0, n_k() - 1);
        K(e, j, c) = load_or_zero(e, d(), [&](const Expr &column) { return k(column, chunk_key, 0, 0); });
        QK(i, j, c, x) += Q(i, r_e, x) * K(r_e, skipped + j, c);
        const Expr key = c * chunk + skipped + j;
        const Expr seen = key - query >= window_first && key - query < window_last && key < n_k();
        S(i, j, c, x) = select(seen && !hidden_by_mask(query, key), likely(capped(QK(i, j, c, x))), kMasked);
        M(i, c, x) = kInitialMax;
        M(i, c, x) = max(M(i, c, x), S(i, r_m, c, x));
        sums(i, c, x) = Tuple(std::vector<Expr>(kRowSums, 0.0f));
        std::vector<Expr> terms = row_terms(S(i, r_j, c, x), M(i, c, x), get_target());
        for (int sum = 0; sum < kRowSums; sum++) {
            terms[sum] += sums(i, c, x)[sum];
        }
        sums(i, c, x) = Tuple(terms);

        std::vector<Expr> start(1 + kRowSums, 0.0f);
        start[0] = kInitialMax;
        state(i, x) = Tuple(start);
        state(i, x) = next_state(state(i, x), M(i, r_c, x), sums(i, r_c, x));

        const FuncRef of_row = state(row % block, row / block);
        std::vector<Expr> sums_of_row;
        for (int sum = 0; sum < kRowSums; sum++) {
            sums_of_row.push_back(of_row[1 + sum]);
        }
        out(row) = row_stats(sums_of_row, of_row[0]);
        stats = out;
    }

    void schedule() {
        declare_input_shapes();
        out.output_buffers()[0].dim(0).set_bounds(0, n_q());
        schedule_spatial_logit_stats_cpu(*this, params);
    }

private:
    // Whether it hides key from row i, which is query.
    Expr hidden_by_mask(const Expr &query, const Expr &key) {
        same_mask_rows = same_masks(1);
        dense_mask = dense_masks();
        const auto hides_key = [&](const Expr &at_query, const Expr &at_key) {
            return is_masked(mask_bias(at_query, at_key, 0, 0)) || !allowed(at_query, at_key, 0, 0);
        };
        const Expr mask_key = min(likely(key), n_k() - 1);
        hides_rows(j, i, c, x) = select(hides_key(min(query, n_q() - 1), mask_key), 1.0f, 0.0f);
        hides(i, j, c, x) = hides_rows(j, i, c, x);
        const Expr of_all = select(hides_key(0, min(key, n_k() - 1)), 1.0f, 0.0f);
        return select(same_mask_rows, of_all, hides(i, j, c, x)) != 0.0f;
    }

    Tuple next_state(const FuncRef &old, const Expr &M_c, const FuncRef &of_chunk) const {
        const Expr m = old[0], m_new = max(m, M_c), falls = m - m_new, of_chunk_falls = M_c - m_new;
        const Expr keep = exp2_nonpositive(falls, get_target()), add = exp2_nonpositive(of_chunk_falls, get_target());
        std::vector<Expr> next{m_new};
        for (int sum = 0; sum < kRowSums; sum++) {
            next.push_back(old[1 + sum] + of_chunk[sum]);
        }
        const auto merged = [&](const Expr &before, const Expr &chunk) { return before * keep + chunk * add; };
        const Expr l = old[1 + kSumP], L = of_chunk[kSumP];
        next[1 + kSumP] = merged(l, L);
        next[1 + kSumPLog] =
            merged(old[1 + kSumPLog] + l * bounded(falls), of_chunk[kSumPLog] + L * bounded(of_chunk_falls));
        return Tuple(next);
    }

    schedule::SpatialLogitStats params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialLogitStats, spatial_attention_logit_stats)
