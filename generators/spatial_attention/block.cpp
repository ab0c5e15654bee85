// Spatial attention, forward, as general.cpp has it, in blocks for a GPU: a block of rows meets one block of
// keys after the other, and every group of value columns has a maximum and a sum of its own, so that groups need nothing
// of each other and a thread can own one. With split_keys the keys are shared out among spans, each with a state of its own, which are
// merged at the end (Dao, Haziza, Massa and Sizov 2023): right where there are few rows.
//
// d and d_v may be anything up to max_d: columns from there on are zeros, in the copies that the schedule stages.
#include "block.h"

#include "generators/common/numbers.h"
#include "inputs.h"
#include "schedules/spatial_attention/block_gpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialBlock : public SpatialAttentionGenerator<SpatialBlock>, SpatialBlockStages {
public:
    GeneratorParam<int> max_d{"with_max_d", 64};
    GeneratorParam<bool> split{"split_keys", false};
    NumberParams<schedule::SpatialBlock> numbers;

    void generate() {
        params = overridden(schedule::SpatialBlock::defaults(schedule::machine(machine), max_d), numbers.values());
        _halide_user_assert(params.shared_bytes() <= schedule::machine(machine).shared_bytes)
            << "blocks of max_d = " << int(max_d) << " take " << params.shared_bytes() << " bytes of shared memory";
        _halide_user_assert(params.max_d % params.thread_columns == 0 && params.block_rows % params.thread_rows == 0 &&
                            params.block_keys % params.threads_x() == 0 && params.block_keys % 2 == 0)
            << "threads of " << params.thread_rows << " rows and " << params.thread_columns
            << " columns leave out part of a block of " << params.block_rows << " rows, " << params.block_keys
            << " keys and " << params.max_d << " columns";
        const int rows = params.block_rows, keys = params.block_keys;

        softcap_condition = softcap > cast<float>(min(key_length(b), 0));  // lengths are not negative

        // A row is a query; where keys are split, a query of one of the heads that share keys, and h counts key/value heads.
        const Expr sharing = split ? Expr(heads_per_kv) : Expr(1);
        const Expr row = min(y, n_q() * sharing - 1), query = split ? row % n_q() : row;
        const Expr head = split ? h * sharing + row / n_q() : Expr(h), h_kv = split ? Expr(h) : h / heads_per_kv;

        // K and V are staged for a block x of rows; all else is counted in rows.
        const Keys staged = keys_of(x), seen = keys_of(y / rows);
        const Expr staged_key = staged.first + c * keys + j, read_staged = clamp(staged_key, 0, n_k() - 1);
        const Expr key = seen.first + c * keys + j, read_key = clamp(key, 0, n_k() - 1);

        Q(e, y, h, b) = select(e < d(), scaled_query(e, query, head, b), 0.0f);
        K(e, j, c, p, x, h, b) = select(e < d(), k(min(e, d() - 1), read_staged, h_kv, b), 0.0f);
        // What no row sees is not read: it may be NaN.
        V(e, j, c, p, x, h, b) =
            select(e < d_v() && staged_key < staged.last, v(min(e, d_v() - 1), read_staged, h_kv, b), 0.0f);
        r_e = RDom(0, max_d, "r_e");
        QK(j, y, c, p, h, b) += Q(r_e, y, h, b) * K(r_e, j, c, p, y / rows, h, b);

        Expr sees = in_window(query, key, b) && key < seen.last, logit = capped(QK(j, y, c, p, h, b));
        if (with_mask != Mask::none) {
            const Expr bias = mask_bias(query, read_key, head, b);
            sees = sees && !is_masked(bias);
            logit = logit + bias;
        }
        if (with_mask == Mask::any) {
            sees = sees && allowed(query, read_key, head, b);
        }
        S(j, y, c, p, h, b) = hidden_unless(sees, logit);

        r_j = RDom(0, keys, "r_j");
        const int group = params.thread_keys();
        r_k = RDom(0, group, "r_k");
        r_u = RDom(0, keys / group, "r_u");
        // V is staged before the first maximum, where K's memory is the only one free: docs/halide-notes.md, 'shared memory'.
        M_group(u, y, c, p, h, b) = kept_alive(kInitialMax, V(0, 0, c, p, y / rows, h, b));
        M_group(u, y, c, p, h, b) = max(M_group(u, y, c, p, h, b), S(u * group + r_k, y, c, p, h, b));
        M(y, c, p, h, b) = kInitialMax;
        M(y, c, p, h, b) = max(M(y, c, p, h, b), M_group(r_u, y, c, p, h, b));
        const Expr s = S(j, y, c, p, h, b);
        P(j, y, c, p, h, b) = select(strict_float(s == kMasked), -0.0f, power_of_two(s - M(y, c, p, h, b)));
        L_group(u, y, c, p, h, b) += P(u * group + r_k, y, c, p, h, b);
        L(y, c, p, h, b) += L_group(r_u, y, c, p, h, b);
        // First as if all values were finite: a hidden key has weight 0. A value that is not makes the sum of its column infinite
        // or NaN in every row, whatever its weight, so the first of a thread's rows tells whether the thread has to sum again,
        // with the values of hidden keys taken out.
        PV_plain(e, y, c, p, h, b) += P(r_j, y, c, p, h, b) * V(e, r_j, c, p, y / rows, h, b);
        const int columns = params.thread_columns, thread_rows = params.thread_rows;
        r_i = RDom(0, columns, "r_i");
        const Expr bits = reinterpret<uint32_t>(PV_plain(g * columns + r_i, w * thread_rows, c, p, h, b)) << 1;
        greatest(g, w, c, p, h, b) = Expr(0u);
        greatest(g, w, c, p, h, b) = max(greatest(g, w, c, p, h, b), bits);
        const Expr infinity = Expr(0x7f800000u) << 1;
        const Expr finite = Expr(greatest(e / columns, y / thread_rows, c, p, h, b)) < infinity;
        PV(e, y, c, p, h, b) = PV_plain(e, y, c, p, h, b);
        r_reset = RDom(0, 1, "r_reset");
        r_reset.where(!finite);
        PV(e, y, c, p, h, b) = cast<float>(r_reset);
        // !finite would be asked for every key; this becomes the extent of the loop.
        r_guarded = RDom(0, keys, "r_guarded");
        r_guarded.where(r_guarded < select(finite, 0, keys));
        const Expr weight = P(r_guarded, y, c, p, h, b), value = V(e, r_guarded, c, p, y / rows, h, b);
        PV(e, y, c, p, h, b) += weight * zero_if_hidden(value, weight);

        r_c = RDom(0, split ? Expr(int(params.span_blocks)) : (n_k() + keys - 1) / keys, "r_c");
        r_c.where(seen.first + r_c * keys < seen.last);
        std::vector<Expr> start(size_t(params.thread_columns) + kColumns, 0.0f);
        start[0] = split ? Expr(kInitialMax) : initial_max(head);
        start[1] = split ? Expr(0.0f) : initial_sum(head);
        state(g, y, p, h, b) = Tuple(start);
        state(g, y, p, h, b) = next_state(state(g, y, p, h, b));

        const Expr at_g = e / params.thread_columns;
        std::vector<Expr> result = split ? merge_spans(at_g) : elements(state(at_g, y, 0, h, b));
        const Expr l = result[1], column = e % params.thread_columns;
        const Expr o = normalised(mux(column, std::vector<Expr>(result.begin() + kColumns, result.end())), l);
        const Expr kept = split ? o : kept_alive(o, Q(0, y, h, b));
        if (with_lse) {
            out(e, y, h, b) = Tuple(kept, log_sum_exp(result[0], l));
        } else {
            out(e, y, h, b) = kept;
        }
        *output = out;
    }

    void schedule() {
        declare_shapes(out);
        schedule_spatial_block_gpu(*this, params, max_d, split);
    }

private:
    static constexpr int kColumns = 2;  // where the columns of a state begin, after m and l

    int span_keys() const { return params.span_blocks * params.block_keys; }

    // The keys of span p that some row of a block sees, [first, last).
    struct Keys {
        Expr first, last;
    };
    Keys keys_of(const Expr &block) const {
        const Expr first_query = split ? Expr(0) : block * params.block_rows;
        const Expr last_query = (split ? n_q() : min(first_query + params.block_rows, n_q())) - 1;
        const Expr first = max(first_query + window_first, 0) + p * span_keys();
        Expr last = min(last_query + window_last, min(key_length(b), n_k()));
        last = split ? min(last, first + span_keys()) : last;
        return {first, last};
    }

    static std::vector<Expr> elements(const FuncRef &state) {
        std::vector<Expr> all;
        for (size_t element = 0; element < state.size(); element++) {
            all.push_back(state[int(element)]);
        }
        return all;
    }

    // Not a select on logit, which would put the whole product under its condition, nor min(), which loses NaN.
    static Expr hidden_unless(const Expr &visible, const Expr &logit) {
        const Expr keep = select(visible, UInt(32).max(), Expr(0u));
        return reinterpret<float>((reinterpret<uint32_t>(logit) & keep) |
                                  (reinterpret<uint32_t>(Expr(kMasked)) & ~keep));
    }

    // 0 where the weight is -0: the value of a hidden key may be NaN.
    static Expr zero_if_hidden(const Expr &value, const Expr &weight) {
        return reinterpret<float>(reinterpret<int32_t>(value) & ~(reinterpret<int32_t>(weight) >> 31));
    }

    Expr power_of_two(const Expr &x) const {
        return get_target().has_feature(Target::CUDA) ? exp2_cuda(x) : exp2_nonpositive(x, get_target());
    }

    // The same value, with a use of Q after the loop over blocks of keys: docs/halide-notes.md, 'shared memory'.
    Expr kept_alive(const Expr &value, const Expr &q) const { return select(key_length(b) >= 0, value, q); }

    // The state of a group of columns after block r_c.
    Tuple next_state(const FuncRef &old) const {
        const Expr m = old[0], M_c = M(y, r_c, p, h, b), m_new = max(m, M_c);
        const Expr keep = power_of_two(m - m_new), add = power_of_two(M_c - m_new);
        std::vector<Expr> next{m_new, old[1] * keep + L(y, r_c, p, h, b) * add};
        for (int column = 0; column < params.thread_columns; column++) {
            const Expr PV_c = PV(g * params.thread_columns + column, y, r_c, p, h, b);
            next.push_back(old[kColumns + column] * keep + PV_c * add);
        }
        return Tuple(next);
    }

    // The state of query y of query head h over all spans.
    std::vector<Expr> merge_spans(const Expr &at_g) {
        std::vector<Expr> states = elements(state(g, y, p, h, b));
        states[1] = kept_alive(states[1], Q(0, y, h, b));
        partial(i, g, y, p, h, b) = mux(i, states);
        r_p = RDom(0, (n_k() + span_keys() - 1) / span_keys(), "r_p");
        const auto of_span = [&](size_t element) {
            return partial(int(element), g, h % heads_per_kv * n_q() + y, r_p, h / heads_per_kv, b);
        };
        top(g, y, h, b) = initial_max(h);
        top(g, y, h, b) = max(top(g, y, h, b), of_span(0));
        const Expr weight = power_of_two(of_span(0) - top(g, y, h, b));
        std::vector<Expr> start(states.size() - 1, 0.0f);
        start[0] = initial_sum(h, top(g, y, h, b));
        merged(g, y, h, b) = Tuple(start);
        std::vector<Expr> sums = elements(merged(g, y, h, b));
        for (size_t element = 0; element < sums.size(); element++) {
            sums[element] += of_span(element + 1) * weight;
        }
        merged(g, y, h, b) = Tuple(sums);
        std::vector<Expr> result = elements(merged(at_g, y, h, b));
        result.insert(result.begin(), top(at_g, y, h, b));
        return result;
    }

    schedule::SpatialBlock params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialBlock, spatial_attention_block)
