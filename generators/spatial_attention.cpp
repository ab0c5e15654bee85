// Spatial attention, forward: O = softmax(s Q K^T) V per head, softmax over the keys that a query sees.
//
// Online softmax over chunks of keys (Milakov and Gimelshein 2018; Rabe and Staats 2021): per query the state is
// the maximum m, the sum l and the unnormalised output o; a chunk contributes its own maximum M, sum L and product PV:
//   m' = max(m, M),  l' = l 2^(m-m') + L 2^(M-m'),  o' = o 2^(m-m') + PV 2^(M-m').
// Logits are kept in units of log 2, so that every exponential is a power of two.
//
// Causal and window masks and key lengths are one rule: query i sees key j if
//   j < key_lengths[b]  and  window_first <= j - i < window_last.
// A tile of queries starts at the first key that its first row sees, so hidden blocks are not visited at all.
#include "spatial_attention.h"
#include "machines.h"
#include "math.h"
#include "schedules/spatial_attention_cpu.h"
#include "schedules/spatial_attention_gpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialAttention : public Generator<SpatialAttention>, SpatialAttentionStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    // The numbers of the schedule; 0 leaves the machine's default.
    GeneratorParam<int> row_vectors{"row_vectors", 0};
    GeneratorParam<int> key_unroll{"key_unroll", 0};
    GeneratorParam<int> value_group{"value_group", 0};
    GeneratorParam<int> tile_blocks{"tile_blocks", 0};
    GeneratorParam<int> chunk_keys{"chunk_keys", 0};
    // The kernel's kind.
    GeneratorParam<bool> with_lse{"with_lse", false};
    GeneratorParam<bool> guard_values{"guard_values", false};  // keep NaN and Inf of hidden values out
    GeneratorParam<int> head_dim{"head_dim", 0};               // d = d_v of a GPU kernel; 0: any d and d_v

    // Dimensions innermost first: (d, n, head, batch).
    Input<Buffer<float, 4>> q{"q"}, k{"k"}, v{"v"};
    Input<Buffer<float, 1>> scale{"scale"};              // per head
    Input<Buffer<int32_t, 1>> key_lengths{"key_lengths"};  // per batch entry, at most n_k
    Input<int32_t> heads_per_kv{"heads_per_kv"};         // query heads that share a key/value head
    Input<int32_t> window_first{"window_first"}, window_last{"window_last"};

    // With lse the output is the pair {out, lse}. Halide gives a pair one set of dimensions, so lse has an innermost
    // dimension of extent d_v and stride 0: its one element per row is written d_v times with the same bits.
    void configure() {
        output = add_output<Func>("out", std::vector<Type>(with_lse ? 2 : 1, Float(32)), 4);
    }

    void generate() {
        params = schedule::SpatialAttentionSchedule::defaults(schedule::machine(machine));
        const int numbers[] = {row_vectors, key_unroll, value_group, tile_blocks, chunk_keys};
        params.override_with(numbers);
        const int tile = params.tile_rows(), chunk = params.chunk_keys, group = params.value_group;

        const Expr n_q = q.dim(1).extent(), n_k = k.dim(1).extent();
        const Expr d = head_dim ? Expr(int(head_dim)) : q.dim(0).extent();
        const Expr d_v = head_dim ? Expr(int(head_dim)) : v.dim(0).extent();
        const Expr h_kv = h / heads_per_kv;

        // Keys that some row of the tile sees: [first, last).
        const Expr first_row = t * tile, last_row = min(first_row + tile, n_q) - 1;
        const Expr first = max(first_row + window_first, 0);
        const Expr last = min(last_row + window_last, min(key_lengths(b), n_k));
        auto key = [&](const Expr &chunk_index, const Expr &j) { return first + chunk_index * chunk + j; };
        auto visible = [&](const Expr &row, const Expr &key) {
            return key - row >= window_first && key - row < window_last && key < key_lengths(b);
        };

        r_e = RDom(0, d, "r_e");
        r_j = RDom(0, chunk, "r_j");
        r_j.where(first + c * chunk + r_j < last);
        r_c = RDom(0, (n_k + chunk - 1) / chunk, "r_c");
        r_c.where(first + r_c * chunk < last);

        Q(i, e, t, h, b) = q(e, min(first_row + i, n_q - 1), h, b) * (scale(h) * kLog2E);
        K(e, j, c, t, h, b) = k(min(likely(e), d - 1), clamp(key(c, j), 0, last - 1), h_kv, b);
        V(e, j, c, t, h, b) = v(min(likely(e), d_v - 1), clamp(key(c, j), 0, last - 1), h_kv, b);

        QK(i, j, c, t, h, b) += Q(i, r_e, t, h, b) * K(r_e, j, c, t, h, b);
        S(i, j, c, t, h, b) = select(likely(visible(first_row + i, key(c, j))), QK(i, j, c, t, h, b), kMasked);

        M(i, c, t, h, b) = kInitialMax;
        M(i, c, t, h, b) = max(M(i, c, t, h, b), S(i, r_j, c, t, h, b));
        P(i, j, c, t, h, b) = exp2_nonpositive(S(i, j, c, t, h, b) - M(i, c, t, h, b));
        L(i, c, t, h, b) += P(i, r_j, c, t, h, b);
        Expr value = V(e, r_j, c, t, h, b);
        if (guard_values) {
            Expr sees = visible(first_row + i, key(c, r_j));
            value = reinterpret<float>(reinterpret<uint32_t>(value) & select(sees, UInt(32).max(), Expr(0u)));
        }
        PV(i, e, c, t, h, b) += P(i, r_j, c, t, h, b) * value;

        std::vector<Expr> start(group + 2, 0.0f);
        start[0] = kInitialMax;
        state(i, g, t, h, b) = Tuple(start);
        const Expr m = state(i, g, t, h, b)[0], M_c = M(i, r_c, t, h, b);
        const Expr m_new = max(m, M_c);
        const Expr keep = exp2_nonpositive(m - m_new), add = exp2_nonpositive(M_c - m_new);
        std::vector<Expr> next{m_new, state(i, g, t, h, b)[1] * keep + L(i, r_c, t, h, b) * add};
        for (int x = 0; x < group; x++) {
            next.push_back(state(i, g, t, h, b)[2 + x] * keep + PV(i, g * group + x, r_c, t, h, b) * add);
        }
        state(i, g, t, h, b) = Tuple(next);

        // A row that sees no key has l = 0: output 0, lse -inf.
        std::vector<Expr> columns;
        for (int x = 0; x < group; x++) {
            columns.push_back(state(i, e / group, t, h, b)[2 + x]);
        }
        const Expr l = state(i, e / group, t, h, b)[1];
        O(i, e, t, h, b) = mux(e % group, columns) * select(l == 0.0f, 0.0f, 1.0f / l);
        // The min tells bounds inference how many rows the last tile has.
        const Expr row_in_tile = min(row % tile, n_q - 1 - row / tile * tile);
        if (with_lse) {
            const Expr minus_infinity = reinterpret<float>(Expr(0xff800000u));
            const Expr l_row = state(i, 0, t, h, b)[1];
            LSE(i, t, h, b) = select(l_row == 0.0f, minus_infinity, state(i, 0, t, h, b)[0] * kLn2 + log(l_row));
            out(e, row, h, b) = Tuple(O(row_in_tile, e, row / tile, h, b), LSE(row_in_tile, row / tile, h, b));
        } else {
            out(e, row, h, b) = O(row_in_tile, e, row / tile, h, b);
        }
        *output = out;
    }

    void schedule() {
        declare_shapes();
        if (get_target().has_gpu_feature()) {
            schedule_spatial_attention_gpu(*this, params);
        } else {
            schedule_spatial_attention_cpu(*this, params);
        }
    }

private:
    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes() {
        for (auto *input : {&q, &k, &v}) {
            for (int dim = 0; dim < 4; dim++) {
                input->dim(dim).set_min(0);
            }
        }
        // One number for all is a vector of stride 0.
        scale.dim(0).set_min(0).set_stride(Expr());
        key_lengths.dim(0).set_min(0).set_stride(Expr());
        std::vector<OutputImageParam> buffers = out.output_buffers();
        buffers[0].dim(0).set_bounds(0, head_dim ? Expr(int(head_dim)) : v.dim(0).extent());
        for (int dim = 1; dim < 4; dim++) {
            buffers[0].dim(dim).set_bounds(0, q.dim(dim).extent());
        }
        if (with_lse) {
            buffers[1].dim(0).set_stride(0);
        }
        k.dim(0).set_bounds(0, q.dim(0).extent());
        v.dim(1).set_bounds(0, k.dim(1).extent());
    }

    GeneratorOutput<Func> *output = nullptr;
    schedule::SpatialAttentionSchedule params;
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialAttention, spatial_attention)
