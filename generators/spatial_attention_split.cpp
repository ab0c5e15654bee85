// Spatial attention, forward, for few queries against many keys (decoding with a key/value cache): the variant that
// splits the keys into spans, so that every thread has work, and merges the spans' softmax states at the end.
//
// The rows of a tile are the (query, head) pairs that share a key/value head, so its keys and values are read once.
// Each span has its own online softmax {m, l, o}; with m* the largest m, the output is
//   sum_p 2^(m_p - m*) o_p / sum_p 2^(m_p - m*) l_p.
#include "schedules/spatial_attention_split_cpu.h"
#include "spatial_attention.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialAttentionSplit : public SpatialAttentionGenerator<SpatialAttentionSplit> {
public:
    Input<int32_t> chunks_per_span{"chunks_per_span"};

    void generate() {
        read_parameters(schedule::SpatialAttentionSchedule::split_defaults(schedule::machine(machine)));
        const int tile = params.tile_rows(), chunk = params.chunk_keys, group = params.value_group;
        const Expr span = chunks_per_span;

        // Keys that some query sees: [first, last). Here h counts key/value heads.
        const Expr first = max(window_first, 0);
        const Expr last = min(n_q() - 1 + window_last, min(key_lengths(b), n_k()));
        r_e = RDom(0, d(), "r_e");
        r_j = RDom(0, chunk, "r_j");
        r_j.where(first + c * chunk + r_j < last);
        r_c = RDom(0, span, "r_c");
        r_c.where(first + (p * span + r_c) * chunk < last);

        const Expr tile_row = min(t * tile + i, n_q() * heads_per_kv - 1);
        query(i, t) = tile_row % n_q();
        head(i, t) = tile_row / n_q();
        const Expr key = first + c * chunk + j, q_head = h * heads_per_kv + clamp(head(i, t), 0, heads_per_kv - 1);
        Q(i, e, t, h, b) = scaled_query(clamp(query(i, t), 0, n_q() - 1), q_head);
        K(e, j, c, t, h, b) = k(e, clamp(key, 0, last - 1), h, b);
        V(e, j, c, t, h, b) = v(min(likely(e), d_v() - 1), clamp(key, 0, last - 1), h, b);
        QK(i, j, c, t, h, b) += Q(i, r_e, t, h, b) * K(r_e, j, c, t, h, b);
        define_chunk(query(i, t), q_head, key, last - 1);

        state(i, g, p, t, h, b) = initial_state();
        state(i, g, p, t, h, b) = next_state(state(i, g, p, t, h, b), p * span + r_c);
        std::vector<Expr> elements;
        for (int x = 0; x < group + 2; x++) {
            elements.push_back(state(i, g, p, t, h, b)[x]);
        }
        partial(i, g, p, t, h, b) = Tuple(elements);

        const Expr chunks = (n_k() + chunk - 1) / chunk, spans = (chunks + span - 1) / span;
        r_p = RDom(0, spans, "r_p");
        m_all(i, t, h, b) = kInitialMax;
        m_all(i, t, h, b) = max(m_all(i, t, h, b), partial(i, 0, r_p, t, h, b)[0]);
        merged(i, g, t, h, b) = Tuple(std::vector<Expr>(group + 1, 0.0f));
        const Expr weight = exp2_nonpositive(partial(i, g, r_p, t, h, b)[0] - m_all(i, t, h, b));
        std::vector<Expr> sums;
        for (int x = 0; x <= group; x++) {
            sums.push_back(merged(i, g, t, h, b)[x] + partial(i, g, r_p, t, h, b)[1 + x] * weight);
        }
        merged(i, g, t, h, b) = Tuple(sums);

        std::vector<Expr> columns;
        for (int x = 0; x < group; x++) {
            columns.push_back(merged(i, e / group, t, h, b)[1 + x]);
        }
        O(i, e, t, h, b) = normalised(mux(e % group, columns), merged(i, e / group, t, h, b)[0]);
        const Expr merged_row = h % heads_per_kv * n_q() + row, h_kv = h / heads_per_kv;
        const Expr o = O(merged_row % tile, e, merged_row / tile, h_kv, b);
        if (with_lse) {
            LSE(i, t, h, b) = log_sum_exp(m_all(i, t, h, b), merged(i, 0, t, h, b)[0]);
            out(e, row, h, b) = Tuple(o, LSE(merged_row % tile, merged_row / tile, h_kv, b));
        } else {
            out(e, row, h, b) = o;
        }
        *output = out;
        O.bound(t, 0, (n_q() * heads_per_kv + tile - 1) / tile).bound(i, 0, tile);
        O.bound(h, 0, k.dim(2).extent());
    }

    void schedule() {
        declare_shapes();
        SpatialAttentionSplitStages stages{query, head, partial, m_all, merged, r_p};
        schedule_spatial_attention_split_cpu(*this, stages, params);
    }

private:
    Func query{"query"}, head{"head"};  // (i, t)  of a row
    Func partial{"partial"};            // (i, g, p, t, h, b)  the final state of each span
    Func m_all{"m_all"};                // (i, t, h, b)  maximum over all spans
    Func merged{"merged"};              // (i, g, t, h, b)  {l, o[0..group)} over all spans
    RDom r_p;                           // over the spans
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialAttentionSplit, spatial_attention_split)
