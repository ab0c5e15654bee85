// Channel attention, forward, on channels-first arrays [B, H, d, n]: O = o softmax(s Q K^T) V per head, a d x d map over
// channels, where every array holds a channel's tokens side by side.
//
// Tokens lie in the vector lanes: the map is a matrix of dot products, one partial sum per lane, and the output a sum of
// rows of V. Tokens are split into spans so that a single head can keep every thread busy; each span gives a partial map,
// the partial maps are added in order, and the output is computed from the finished map.
#include "channels_first.h"
#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "inputs.h"
#include "schedules/channel_attention/channels_first_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsFirst : public ChannelAttentionGenerator<ChannelsFirst>, ChannelsFirstStages {
public:
    NumberParams<schedule::ChannelsFirst> numbers;
    Input<int32_t> span_chunks{"span_chunks"};  // chunks of a span

    void generate() {
        params = overridden(schedule::ChannelsFirst::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.chunk_tokens % params.lanes == 0) << "chunk_tokens must be a multiple of the lanes";
        _halide_user_assert(params.tile_tokens % (params.token_vectors * params.lanes) == 0)
            << "tile_tokens must be a multiple of token_vectors * lanes";
        _halide_user_assert(params.tile_rows() % params.channel_group == 0)
            << "map_rows * tile_blocks must be a multiple of channel_group";
        const int lanes = params.lanes, tile = params.tile_rows(), channels = params.channel_group;

        const Expr n = q.dim(0).extent(), d = q.dim(1).extent(), chunk = params.chunk(n);
        const Expr chunks = (n + chunk - 1) / chunk, spans = (chunks + span_chunks - 1) / span_chunks;
        r_v = RDom(0, chunk / lanes, "r_v");
        r_c = RDom(0, span_chunks, "r_c");
        r_c.where(p * span_chunks + r_c < chunks);
        r_l = RDom(0, lanes, "r_l");
        r_p = RDom(0, spans, "r_p");
        r_j = RDom(0, d, "r_j");

        const Expr at = c * chunk + u, inside = likely(at) < n;
        Q(u, i, x, c, h, b) = select(inside, of_q(q(min(likely(at), n - 1), min(x * tile + i, d - 1), h, b)), 0.0f);
        K(u, j, c, h, b) = select(inside, of_kv(k(min(likely(at), n - 1), min(j, d - 1), h, b)), 0.0f);
        // Each row of K is read once in a chunk, from where it is, but in a last chunk that has tokens that are not there.
        const Expr in_chunk = r_v * lanes + l, token_c = unsafe_promise_clamped(c * chunk + in_chunk, 0, n - 1);
        const Expr q_i = Q(in_chunk, i, x, c, h, b);
        copied = sums("copied", q_i, K(in_chunk, j, c, h, b));
        in_place = sums("in_place", q_i, of_kv(k(token_c, min(j, d - 1), h, b)));

        // A chunk's lanes are added up while they are in registers, then the chunks.
        const Expr chunk_index = p * span_chunks + r_c, to_log2 = scale(h) * kLog2E;
        const Expr is_whole = (chunk_index + 1) * chunk <= n;
        const Expr products = select(is_whole, in_place.QK_chunk(i, j, x, chunk_index, h, b),
                                     copied.QK_chunk(i, j, x, chunk_index, h, b));
        if (with_normalize) {
            // The norms run along with the products, so that Q and K are read once: span_sum[1] is the same in every column j,
            // span_sum[2] in every row i, and column 0 and row 0 are read.
            QQ(l, i, x, c, h, b) += q_i * q_i;
            QQ_chunk(i, x, c, h, b) += QQ(r_l, i, x, c, h, b);
            const Expr KK =
                select(is_whole, in_place.KK_chunk(j, chunk_index, h, b), copied.KK_chunk(j, chunk_index, h, b));
            sum(i, j, x, p, h, b) = Tuple(0.0f, 0.0f, 0.0f);
            const FuncRef before = sum(i, j, x, p, h, b);
            sum(i, j, x, p, h, b) =
                Tuple(before[0] + products, before[1] + QQ_chunk(i, x, chunk_index, h, b), before[2] + KK);
            span_sum(i, j, x, p, h, b) = Tuple(sum(i, j, x, p, h, b));
            S(i, j, x, h, b) += span_sum(i, j, x, r_p, h, b)[0];
            S_QQ(i, x, h, b) += span_sum(i, 0, x, r_p, h, b)[1];
            // Whole vectors of columns ask for no products past d.
            S_KK(j, x, h, b) += span_sum(0, min(j, d - 1), x, r_p, h, b)[2];
            rq(i, x, h, b) = inverse_norm(S_QQ(i, x, h, b));
            rk(j, x, h, b) = inverse_norm(S_KK(j, x, h, b));
            logit(i, j, x, h, b) = S(i, j, x, h, b) * rq(i, x, h, b) * (rk(j, x, h, b) * to_log2);
        } else {
            sum(i, j, x, p, h, b) += products;
            span_sum(i, j, x, p, h, b) = sum(i, j, x, p, h, b);
            S(i, j, x, h, b) += span_sum(i, j, x, r_p, h, b);
            logit(i, j, x, h, b) = S(i, j, x, h, b) * to_log2;
        }

        M(i, x, h, b) = -std::numeric_limits<float>::max();
        M(i, x, h, b) = max(M(i, x, h, b), logit(i, r_j, x, h, b));
        E(i, j, x, h, b) = exp2_nonpositive(logit(i, j, x, h, b) - M(i, x, h, b), get_target());
        L(i, x, h, b) += E(i, r_j, x, h, b);
        R(i, x, h, b) = output_multiplier / L(i, x, h, b);
        // The row within a tile: in a map smaller than a tile, rows past its own are not asked for.
        const Expr rows = min(tile, (d + channels - 1) / channels * channels),
                   row = unsafe_promise_clamped(channel % tile, 0, rows - 1);
        P(channel, j, h, b) = E(row, j, channel / tile, h, b) * R(row, channel / tile, h, b);

        V(token, j, h, b) = of_kv(v(min(likely(token), n - 1), j, h, b));
        PV(token, channel, h, b) += P(channel, r_j, h, b) * V(token, r_j, h, b);
        out(token, channel, h, b) = to_out(PV(token, channel, h, b));
        whole_tile = n >= params.token_vectors * lanes && d >= params.channel_group;
        output = out;
    }

    void schedule() {
        declare_shapes(out);
        schedule_channels_first_cpu(*this, params);
    }

private:
    // A chunk's sums over tokens, of these terms.
    ChunkSums sums(const std::string &name, const Expr &q_i, const Expr &k_j) const {
        ChunkSums sums{Func(name + "_QK"), Func(name + "_QK_chunk"), Func(name + "_KK"), Func(name + "_KK_chunk")};
        sums.QK(l, i, j, x, c, h, b) += q_i * k_j;
        sums.QK_chunk(i, j, x, c, h, b) += sums.QK(r_l, i, j, x, c, h, b);
        if (with_normalize) {
            sums.KK(l, j, c, h, b) += k_j * k_j;
            sums.KK_chunk(j, c, h, b) += sums.KK(r_l, j, c, h, b);
        }
        return sums;
    }

    schedule::ChannelsFirst params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsFirst, channel_attention_channels_first)
