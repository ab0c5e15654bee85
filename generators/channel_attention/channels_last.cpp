// Channel attention, forward: O = o (softmax(s Q^T K) V^T)^T per head, a d x d map over channels, softmax over its
// second index:
//   O[t, i] = o sum_j softmax_j(s sum_u Q[u, i] K[u, j]) V[t, j].
//
// A tile of map rows needs no other row: its logits are sums over all tokens, its softmax runs over all columns, and it
// gives the same rows of every token's output. So tiles are independent, and none of them holds anything of size n.
// Logits are taken to units of log 2, so that every exponential is a power of two.
#include "channels_last.h"
#include "generators/common/loads.h"
#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "inputs.h"
#include "schedules/channel_attention/channels_last_cpu.h"
#include "vectors.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsLast : public ChannelAttentionGenerator<ChannelsLast>, ChannelsLastStages {
public:
    NumberParams<schedule::ChannelsLast> numbers;
    GeneratorParam<int> block_vectors{"with_block_vectors", 0};  // of map rows; 0: as the schedule has it

    void generate() {
        const schedule::Machine m = schedule::machine(machine);
        params = overridden(schedule::ChannelsLast::defaults(m, block_vectors), numbers.values());
        const int chunk = params.chunk_tokens;

        const Expr d = q.dim(0).extent(), n = q.dim(1).extent();
        r_u = RDom(0, chunk, "r_u");
        r_u.where(c * chunk + r_u < n);
        r_c = RDom(0, (n + chunk - 1) / chunk, "r_c");
        r_j = RDom(0, d, "r_j");
        many_columns = d > params.value_columns;
        whole_vectors = d % params.lanes == 0;
        holds_vector = d >= params.lanes;

        // What channels past the end give is not part of the output. Tokens past the end repeat the last one.
        const Expr token_u = min(c * chunk + u, n - 1);
        Q(i, u, c, h, b) = load_or_zero(i, d, [&](const Expr &channel) { return q(channel, token_u, h, b); });
        K(j, u, c, h, b) = load_or_zero(j, d, [&](const Expr &channel) { return k(channel, token_u, h, b); });
        const bool may_mask = schedule::may_mask(m, params.block_vectors);
        tokens_in_place = used_in_place(may_mask || d % params.block_rows() == 0, q.dim(1).stride(), k.dim(1).stride());
        const Expr token_c = unsafe_promise_clamped(c * chunk + r_u, 0, n - 1);
        const Expr q_in_place = q(unsafe_promise_clamped(i, 0, d - 1), token_c, h, b);
        QK_copied(i, j, c, h, b) += Q(i, r_u, c, h, b) * K(j, r_u, c, h, b);
        QK_in_place(i, j, c, h, b) +=
            (may_mask ? load_where(i < d, q_in_place) : q_in_place) * k(min(j, d - 1), token_c, h, b);
        const Expr copied = QK_copied(i, j, r_c, h, b), in_place = QK_in_place(i, j, r_c, h, b);
        S(i, j, h, b) = 0.0f;
        // An autoscheduler would compute both.
        S(i, j, h, b) += using_autoscheduler() ? copied : select(tokens_in_place, in_place, copied);
        // Strict, here and below: the maximum and the exponentials have loops of their own, and are to see the same logits.
        const Expr to_log2 = strict_float(scale(h) * kLog2E);
        if (with_normalize) {
            define_norms(Q_norms, q, i, token_c);
            define_norms(K_norms, k, j, token_c);
            logit(i, j, h, b) =
                strict_float(S(i, j, h, b) * Q_norms.inverse(i, h, b) * (K_norms.inverse(j, h, b) * to_log2));
        } else {
            logit(i, j, h, b) = strict_float(S(i, j, h, b) * to_log2);
        }

        M(i, h, b) = -std::numeric_limits<float>::max();
        M(i, h, b) = max(M(i, h, b), logit(i, r_j, h, b));
        P(i, j, h, b) = exp2_nonpositive(logit(i, j, h, b) - M(i, h, b), get_target());
        L(i, h, b) += P(i, r_j, h, b);
        R(i, h, b) = output_multiplier / L(i, h, b);
        O(i, token, h, b) += P(i, r_j, h, b) * v(r_j, min(likely(token), n - 1), h, b);

        // The sum over columns in one go, or, where a block of rows of the map outgrows the first-level cache, a block of
        // columns at a time.
        const int columns = params.value_columns;
        RDom r_column(0, columns, "r_column");
        r_column.where(c * columns + r_column < d);
        const Expr column = unsafe_promise_clamped(c * columns + r_column, 0, d - 1);
        O_columns(i, token, c, h, b) += P(i, column, h, b) * v(column, min(likely(token), n - 1), h, b);
        r_cj = RDom(0, (d + columns - 1) / columns, "r_cj");
        O_sum(i, token, h, b) += O_columns(i, token, r_cj, h, b);
        out(i, token, h, b) = select(many_columns, O_sum(i, token, h, b), O(i, token, h, b)) * R(i, h, b);
        whole_block = d >= params.block_rows() && n >= params.token_unroll;
        output = out;
    }

    void schedule() {
        declare_shapes(out);
        if (using_autoscheduler()) {
            estimate(out);
        } else {
            schedule_channels_last_cpu(*this, params);
        }
    }

private:
    // 1 / |a_x| over all tokens, of a = Q or K. Vectors are read whole wherever d holds one: the last is shifted inwards, and
    // repeats channels of the one before it.
    void define_norms(Norms &norms, const Input<Buffer<void, 4>> &a, const Var &x, const Expr &token_c) const {
        const int lanes = params.lanes;
        const Expr d = a.dim(0).extent(), last = min(x, d - 1);
        // Each is read only where the schedule has specialised holds_vector: the first starts before the array of a smaller d.
        const auto at = [&](const Expr &channel) {
            return a(unsafe_promise_clamped(channel, 0, d - 1), token_c, h, b);
        };
        const Expr a_x = select(holds_vector, at(vector_inside(x, d, lanes)), load_where(x < d, at(x)));
        norms.chunk(x, c, h, b) += a_x * a_x;
        norms.sum(x, h, b) += norms.chunk(x, r_c, h, b);
        // Channels of the last vector stand as far to the right as it was shifted to the left; none were if all are whole, which
        // lets vectors be loaded, not gathered.
        const Expr shift = select(holds_vector && last >= d / lanes * lanes, (lanes - d % lanes) % lanes, 0);
        const Expr place = select(whole_vectors, x, last + shift);
        norms.inverse(x, h, b) = inverse_norm(norms.sum(place, h, b));
    }

    schedule::ChannelsLast params;
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsLast, channel_attention_channels_last)
