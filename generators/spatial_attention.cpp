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
#include "schedules/spatial_attention_cpu.h"
#include "schedules/spatial_attention_gpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialAttention : public SpatialAttentionGenerator<SpatialAttention> {
public:
    void generate() {
        read_parameters(schedule::SpatialAttentionSchedule::defaults(schedule::machine(machine)));
        const int tile = params.tile_rows(), chunk = params.chunk_keys, group = params.value_group;

        // Keys that some row of the tile sees: [first, last).
        const Expr first_row = t * tile, last_row = min(first_row + tile, n_q()) - 1;
        const Expr first = max(first_row + window_first, 0);
        const Expr last = min(last_row + window_last, min(key_lengths(b), n_k()));
        r_e = RDom(0, d(), "r_e");
        r_j = RDom(0, chunk, "r_j");
        r_j.where(first + c * chunk + r_j < last);
        r_c = RDom(0, (n_k() + chunk - 1) / chunk, "r_c");
        r_c.where(first + r_c * chunk < last);

        const Expr key = first + c * chunk + j, h_kv = h / heads_per_kv;
        Q(i, e, t, h, b) = scaled_query(first_row + i, h);
        K(e, j, c, t, h, b) = k(min(likely(e), d() - 1), clamp(key, 0, last - 1), h_kv, b);
        V(e, j, c, t, h, b) = v(min(likely(e), d_v() - 1), clamp(key, 0, last - 1), h_kv, b);
        QK(i, j, c, t, h, b) += Q(i, r_e, t, h, b) * K(r_e, j, c, t, h, b);
        define_chunk(first_row + i, h, key, last - 1);

        state(i, g, t, h, b) = initial_state();
        state(i, g, t, h, b) = next_state(state(i, g, t, h, b), r_c);

        std::vector<Expr> columns;
        for (int x = 0; x < group; x++) {
            columns.push_back(state(i, e / group, t, h, b)[2 + x]);
        }
        O(i, e, t, h, b) = normalised(mux(e % group, columns), state(i, e / group, t, h, b)[1]);
        // The min tells bounds inference how many rows the last tile has.
        const Expr row_in_tile = min(row % tile, n_q() - 1 - row / tile * tile);
        if (with_lse) {
            LSE(i, t, h, b) = log_sum_exp(state(i, 0, t, h, b)[0], state(i, 0, t, h, b)[1]);
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
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialAttention, spatial_attention)
