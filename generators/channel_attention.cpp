// Channel attention, forward: O = o (softmax(s Q^T K) V^T)^T per head, a d x d map over channels, softmax over its
// second index:
//   O[t, i] = o sum_j softmax_j(s sum_u Q[u, i] K[u, j]) V[t, j].
//
// A tile of map rows needs no other row: its logits are sums over all tokens, its softmax runs over all columns, and it
// gives the same rows of every token's output. So tiles are independent, and none of them holds anything of size n.
// Logits are taken to units of log 2, so that every exponential is a power of two.
#include "channel_attention.h"
#include "machines.h"
#include "math.h"
#include "schedules/channel_attention_cpu.h"
#include "schedules/channel_attention_gpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelAttention : public Generator<ChannelAttention>, ChannelAttentionStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    // The numbers of the schedule; 0 leaves the machine's default.
    GeneratorParam<int> row_vectors{"row_vectors", 0};
    GeneratorParam<int> column_group{"column_group", 0};
    GeneratorParam<int> token_unroll{"token_unroll", 0};
    GeneratorParam<int> tile_blocks{"tile_blocks", 0};
    GeneratorParam<int> chunk_tokens{"chunk_tokens", 0};

    GeneratorParam<bool> normalize{"normalize", false};  // columns of Q and K to length 1 over tokens

    // Dimensions innermost first: (d, n, head, batch).
    Input<Buffer<float, 4>> q{"q"}, k{"k"}, v{"v"};
    Input<Buffer<float, 1>> scale{"scale"};  // per head
    Input<float> output_multiplier{"output_multiplier"};
    Output<Buffer<float, 4>> output{"out"};

    void generate() {
        params = schedule::ChannelAttentionSchedule::defaults(schedule::machine(machine));
        const int numbers[] = {row_vectors, column_group, token_unroll, tile_blocks, chunk_tokens};
        params.override_with(numbers);
        const int tile = params.tile_rows(), chunk = params.chunk_tokens;

        const Expr d = q.dim(0).extent(), n = q.dim(1).extent();
        r_u = RDom(0, chunk, "r_u");
        r_u.where(c * chunk + r_u < n);
        r_c = RDom(0, (n + chunk - 1) / chunk, "r_c");
        r_j = RDom(0, d, "r_j");

        // Channels and tokens past the end repeat the last one; what they give is not part of the output.
        Q(i, u, c, x, h, b) = q(min(likely(x * tile + i), d - 1), min(c * chunk + u, n - 1), h, b);
        K(j, u, c, x, h, b) = k(min(likely(j), d - 1), min(c * chunk + u, n - 1), h, b);
        QK(i, j, c, x, h, b) += Q(i, r_u, c, x, h, b) * K(j, r_u, c, x, h, b);
        const Expr to_log2 = scale(h) * kLog2E;
        if (normalize) {
            // The norms run along with the products, so that Q and K are read once. The same numbers stand in every
            // column, respectively row, which costs little next to the products and keeps the three in one loop.
            QQ(i, c, x, h, b) += Q(i, r_u, c, x, h, b) * Q(i, r_u, c, x, h, b);
            KK(j, c, x, h, b) += K(j, r_u, c, x, h, b) * K(j, r_u, c, x, h, b);
            S(i, j, x, h, b) = Tuple(0.0f, 0.0f, 0.0f);
            const FuncRef sum = S(i, j, x, h, b);
            S(i, j, x, h, b) =
                Tuple(sum[0] + QK(i, j, r_c, x, h, b), sum[1] + QQ(i, r_c, x, h, b), sum[2] + KK(j, r_c, x, h, b));
            rq(i, x, h, b) = 1.0f / max(sqrt(S(i, 0, x, h, b)[1]), kNormalizeEps);
            rk(j, x, h, b) = 1.0f / max(sqrt(S(0, j, x, h, b)[2]), kNormalizeEps);
            logit(i, j, x, h, b) = S(i, j, x, h, b)[0] * rq(i, x, h, b) * (rk(j, x, h, b) * to_log2);
        } else {
            S(i, j, x, h, b) = 0.0f;
            S(i, j, x, h, b) += QK(i, j, r_c, x, h, b);
            logit(i, j, x, h, b) = S(i, j, x, h, b) * to_log2;
        }

        M(i, x, h, b) = -std::numeric_limits<float>::max();
        M(i, x, h, b) = max(M(i, x, h, b), logit(i, r_j, x, h, b));
        P(i, j, x, h, b) = exp2_nonpositive(logit(i, j, x, h, b) - M(i, x, h, b));
        L(i, x, h, b) += P(i, r_j, x, h, b);
        O(i, token, x, h, b) += P(i, r_j, x, h, b) * v(r_j, min(likely(token), n - 1), h, b);

        R(i, token, x, h, b) = O(i, token, x, h, b) * (output_multiplier / L(i, x, h, b));
        // The min tells bounds inference how many rows the last tile has.
        out(channel, token, h, b) = R(min(channel % tile, d - 1 - channel / tile * tile), token, channel / tile, h, b);
        output = out;
    }

    void schedule() {
        declare_shapes();
        if (get_target().has_gpu_feature()) {
            schedule_channel_attention_gpu(*this, params);
        } else {
            schedule_channel_attention_cpu(*this, params);
        }
    }

private:
    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes() {
        scale.dim(0).set_min(0).set_stride(Expr());  // one number for all is a vector of stride 0
        OutputImageParam buffer = out.output_buffer();
        for (int dim = 0; dim < 4; dim++) {
            q.dim(dim).set_min(0);
            for (auto *input : {&k, &v}) {
                input->dim(dim).set_bounds(0, q.dim(dim).extent());
            }
            buffer.dim(dim).set_bounds(0, q.dim(dim).extent());
        }
    }

    schedule::ChannelAttentionSchedule params;
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelAttention, channel_attention)
