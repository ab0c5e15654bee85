// Spatial attention, gradients: of one key/value head and the query heads that share it, for all queries and keys that the call gives it.
//
//   P = 2^(logit - lse),  dZ = P (dO V^T - D),  D = rowsum(d_out O) - dlse,  dS = dZ (1 - tanh^2) with softcap, else dZ,
//   dV += P^T dO,  dK += s dS^T Q,  dQ += s dS K,  dM += dZ;  dO is d_out times the output multiplier.
//
// One loop nest over (block of keys, head, block of queries): P and dS of a pair of blocks serve all of its products, five in all, as in
// FlashAttention-2 (Dao 2023); two passes, one for dQ, would take seven. Nothing of size n_q x n_k is kept. The gradients are added to what
// is there, so that a runtime may call the kernel for parts of the keys and of the queries.
//
// Scales cost nothing: Q is the scaled query, in whose product with a key the logit is in units of log 2 (with softcap: what tanh is taken of).
// dS is the gradient by that product: dK = dS^T Q needs no scale then, and dQ one factor when it is added. V^T and D carry the unit of the logit.
#include "key_blocks.h"

#include <functional>

#include "generators/common/loads.h"
#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "logits.h"
#include "schedules/spatial_attention/key_blocks_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class SpatialKeyBlocks : public SpatialLogits<SpatialKeyBlocks>, SpatialKeyBlocksStages {
public:
    NumberParams<schedule::SpatialKeyBlocks> numbers;
    GeneratorParam<bool> with_d_mask{"with_d_mask", false};

    // q, k and masks of SpatialLogits, and v: the group's heads, and a batch of 1. scale: of these heads.
    Input<Buffer<float, 4>> v{"v"};
    Input<Buffer<float, 4>> out{"out"}, d_out{"d_out"};
    Input<Buffer<float, 2>> lse{"lse"}, d_lse{"d_lse"};  // (n_q, head)
    Input<Buffer<float, 1>> d_q_scale{"d_q_scale"};  // per head, what d_q is multiplied with: scale, or another number
    Input<float> output_multiplier{"output_multiplier"};
    // Query i sees key j if window_first <= j - i < window_last.
    Input<int32_t> window_first{"window_first"}, window_last{"window_last"};
    // 1, or 0 for products that nobody wants.
    Input<int32_t> wants_q{"wants_q"}, wants_k{"wants_k"}, wants_v{"wants_v"};

    void configure() {
        SpatialLogits::configure();
        for (const char *name : {"d_q", "d_k", "d_v"}) {
            gradients.push_back(add_output<Buffer<float, 4>>(name));
        }
        if (with_d_mask) {
            gradients.push_back(add_output<Buffer<float, 4>>("d_mask"));
        }
    }

    void generate() {
        params = overridden(schedule::SpatialKeyBlocks::defaults(schedule::machine(machine)), numbers.values());
        const int panel = params.panel(), Bp = params.block_panels, iu = params.query_unroll, qu = params.row_unroll;
        const Expr heads = q.dim(2).extent(), panels = (n_k() + panel - 1) / panel;
        const Expr blocks_i = (n_q() + params.block_queries - 1) / params.block_queries,
                   blocks_j = (panels + Bp - 1) / Bp;
        block_rows = params.block_rows(n_q());
        padded_d = params.padded_columns(d());
        padded_d_v = params.padded_columns(d_v());
        const Expr Bi = block_rows, wants_dS = with_d_mask ? Expr(1) : select(wants_q + wants_k > 0, 1, 0);

        // Blocks of queries begin at the first one that sees the block of keys.
        const auto first = [&](const Expr &jb) { return max(jb * (Bp * panel) - (window_last - 1), 0); };
        const auto row = [&](const Expr &i, const Expr &ib, const Expr &jb) { return first(jb) + ib * Bi + i; };
        // Queries from the block's first on to the last that sees a key of the block.
        const auto rows = [&](const Expr &ib, const Expr &jb) {
            return min(n_q(), (jb + 1) * (Bp * panel) - window_first) - row(0, ib, jb);
        };
        const Expr key = x * panel + j, query = row(i, ib, jb), query_in = clamp(query, 0, n_q() - 1);

        define_rows();
        define_copies(key, query_in);

        // Of a tile of P none of whose queries sees a key of the panel, the products have no terms.
        r_e = RDom(0, d(), "r_e");
        r_v = RDom(0, d_v(), "r_v");
        const Expr tile_i = t * iu + i, tile_first = row(t * iu, ib, jb);
        seen(t, x, ib, g, jb) = cast<int32_t>(x * panel - (tile_first + iu - 1) < window_last &&
                                              x * panel + panel - 1 - tile_first >= window_first);
        const Expr is_seen = seen(t, x, ib, g, jb) != 0;
        r_e.where(r_e < select(is_seen, d(), 0));
        r_v.where(r_v < select(is_seen, d_v() * wants_dS, 0));
        QK(j, i, t, x, ib, g, jb) += KT(j, r_e, x) * Q(r_e, tile_i, ib, g, jb);
        GV(j, i, t, x, ib, g, jb) += VT(j, r_v, x) * dO(r_v, tile_i, ib, g, jb);
        define_logit_gradients(key, query, query_in);

        // Queries of the block that see some key of the panel: [skipped, end).
        const Expr skipped = clamp(x * panel - (window_last - 1) - row(0, ib, jb), 0, Bi);
        const Expr end = min(min(n_q(), x * panel + panel - window_first) - row(0, ib, jb), Bi);
        const auto sum_queries = [&](Func &sum, RDom &summed, Func &queries, const Expr &wanted, Func &weights,
                                     Func &rows) {
            queries(x, ib, g, jb) = max(end - skipped, 0) * wanted;
            summed = RDom(0, Bi, "r_i");
            summed.where(summed < queries(x, ib, g, jb));
            const Expr i_in = unsafe_promise_clamped(skipped + summed, 0, Bi - 1);
            sum(j, e, x, ib, g, jb) +=
                weights(j, i_in, x, ib, g, jb) * guarded(rows(e, i_in, ib, g, jb), P(j, i_in, x, ib, g, jb));
        };
        sum_queries(dK_block, r_k, queries_k, wants_k, dS, Q);
        sum_queries(dV_block, r_n, queries_v, wants_v, P, dO);
        // Panels that some query of a tile sees: none if the tile is past the last row.
        r_j = RDom(0, panel, 0, Bp, "r_j");
        const Expr last_panel = min(panels, (row(t * qu + qu - 1, ib, jb) + window_last - 1) / panel + 1);
        r_j.where(jb * Bp + r_j.y < select(t * qu < rows(ib, jb), last_panel, 0));
        const Expr x_j = min(jb * Bp + r_j.y, panels - 1), i_j = min(t * qu + i, max(rows(ib, jb) - 1, 0));
        dQ_block(e, i, t, ib, g, jb) +=
            dS(r_j.x, i_j, x_j, ib, g, jb) * guarded(K(e, r_j.x, x_j), P(r_j.x, i_j, x_j, ib, g, jb));

        // compute_with wants loops of one kind (none is to be recognised as a pure index: hence promises) and of one name (hence domains
        // that are all called r). Funcs of their own and not one Tuple: a Tuple's elements are in registers at the same time.
        const auto seen_blocks = [&](RDom &domain) { domain.where(rows(domain[0], domain[2]) > 0); };
        r = RDom(0, blocks_i, 0, heads, 0, blocks_j, 0, Bp, "r");
        r.where(r.z * Bp + r.w < panels);
        seen_blocks(r);
        r_q = RDom({{0, blocks_i}, {0, heads}, {0, blocks_j}, {0, Bi / qu * wants_q}, {0, qu}}, "r");
        r_q.where(r_q[3] * qu + r_q[4] < rows(r_q.x, r_q.z));
        const Expr at = min(r.z * Bp + r.w, panels - 1), head = unsafe_promise_clamped(r_q.y, 0, heads - 1);
        dKT(j, e, x) = 0.0f;
        dVT(j, e, x) = 0.0f;
        dKT(j, e, at) += dK_block(j, e, at, r.x, r.y, r.z);
        dVT(j, e, at) += dV_block(j, e, at, r.x, r.y, r.z);
        dQ(e, i, g, b) = undef<float>();
        dQ(e, unsafe_promise_clamped(row(r_q[3] * qu + r_q[4], r_q.x, r_q.z), 0, n_q() - 1), head, 0) +=
            dQ_block(e, r_q[4], r_q[3], r_q.x, r_q.y, r_q.z) * in_units(d_q_scale(head));

        const int side = params.transpose_side(), sides = panel / side;
        dK_cols(l, e, y) = dKT(y % sides * side + l, e, y / sides);
        dV_cols(l, e, y) = dVT(y % sides * side + l, e, y / sides);
        dK(e, i, g, b) = undef<float>();
        dV(e, i, g, b) = undef<float>();
        dK(e, i, g, b) += dK_cols(i % side, e, i / side);
        dV(e, i, g, b) += dV_cols(i % side, e, i / side);
        *gradients[0] = dQ;
        *gradients[1] = dK;
        *gradients[2] = dV;
        if (with_d_mask) {
            define_mask_gradient(heads, blocks_i, blocks_j, row, rows);
            *gradients[3] = dM;
        }
    }

    void schedule() {
        declare_input_shapes();
        declare_value_shapes(v);
        declare_shapes();
        schedule_spatial_key_blocks_cpu(*this, params);
    }

private:
    Expr d_v() const { return columns_of(v); }

    // What dO V^T is multiplied with, so that dS is the gradient by the product of a scaled query and a key.
    Expr logit_unit() const {
        return with_softcap == Softcap::never    ? Expr(kLn2)
               : with_softcap == Softcap::always ? Expr(softcap)
                                                 : select(has_softcap(), softcap, kLn2);
    }

    // Of a query: D, and lse, such that P is 0 where the query sees no key.
    void define_rows() {
        const int lanes = params.lanes;
        const RDom r_l(0, (d_v() + lanes - 1) / lanes, "r_l");
        const Expr column = r_l * lanes + l, c_in = min(likely(column), d_v() - 1), i_in = min(i, n_q() - 1);
        D_lanes(l, i, g) += select(likely(column < d_v()), d_out(c_in, i_in, g, 0) * out(c_in, i_in, g, 0), 0.0f);
        Expr sum = D_lanes(0, i, g);
        for (int lane = 1; lane < lanes; lane++) {
            sum += D_lanes(lane, i, g);
        }
        D(i, g) = (sum - d_lse(i_in, g)) * logit_unit();
        const Expr of_row = lse(i_in, g);
        lse2(i, g) = select(strict_float(of_row < kInitialMax), -kInitialMax, of_row * kLog2E);
    }

    // Copies of blocks. Rows that are not there are others that are; what they give is not used, but for K, which dQ adds up.
    void define_copies(const Expr &key, const Expr &query_in) {
        const Expr e_q = min(likely(e), d() - 1), e_v = min(likely(e), d_v() - 1), key_in = min(key, n_k() - 1);
        K_rows(e, j, x) = k(e_q, key_in, 0, 0);
        V_rows(e, j, x) = v(e_v, key_in, 0, 0) * logit_unit();
        KT(j, e, x) = K_rows(e, j, x);
        VT(j, e, x) = V_rows(e, j, x);
        // No likely condition here: in the tail of a loop over keys the one over columns would keep its clamp, and gather.
        K(e, j, x) = select(key < n_k(), k(e_q, key_in, 0, 0), 0.0f);
        Q(e, i, ib, g, jb) = q(e_q, query_in, g, 0) * logit_scale(g);
        dO(e, i, ib, g, jb) = d_out(e_v, query_in, g, 0) * output_multiplier;
    }

    // P, and the gradients by the logit. i: query of a block, which is query, of which query_in may be read.
    void define_logit_gradients(const Expr &key, const Expr &query, const Expr &query_in) {
        const int iu = params.query_unroll;
        const Expr product = QK(j, i % iu, i / iu, x, ib, g, jb);
        Expr logit = product, slope = 1.0f;
        if (with_softcap != Softcap::never) {
            const Expr of_product = tanh_accurate(product, get_target());
            tanh(j, i, x, ib, g, jb) =
                with_softcap == Softcap::always ? of_product : select(has_softcap(), of_product, product);
            const Expr kept = tanh(j, i, x, ib, g, jb);
            logit = kept * (softcap * kLog2E);
            slope = 1.0f - kept * kept;
            if (with_softcap == Softcap::optional) {
                logit = select(has_softcap(), logit, kept);
                slope = select(has_softcap(), slope, 1.0f);
            }
        }
        Expr visible = key - query >= window_first && key - query < window_last && key < n_k();
        if (with_mask != Mask::none) {
            const Expr key_in = min(likely(key), n_k() - 1);
            dense_mask = dense_masks();
            bias(j, i, x, ib, g, jb) =
                with_mask == Mask::any ? mask_bias(query_in, key_in, g, 0)
                                       : bias_of(load_where(likely(key < n_k()), mask_element(query_in, key, g, 0)));
            const Expr kept = bias(j, i, x, ib, g, jb);
            visible = visible && !is_masked(kept);
            logit = logit + kept;
            if (with_mask == Mask::any) {
                visible = visible && allowed(query_in, key_in, g, 0);
            }
        }
        // With a guard a hidden key's is told from one that is too small for a float by a number that is no weight.
        const Expr weight = exp2_nonpositive(logit - lse2(query_in, g), get_target());
        P(j, i, x, ib, g, jb) = select(visible, weight, with_guard ? -1.0f : 0.0f);
        const Expr kept = P(j, i, x, ib, g, jb);
        const auto of_visible = [&](const Expr &gradient) {
            return with_guard ? select(is_hidden(kept), 0.0f, gradient) : gradient;
        };
        dZ(j, i, x, ib, g, jb) = of_visible(kept * (GV(j, i % iu, i / iu, x, ib, g, jb) - D(query_in, g)));
        dS(j, i, x, ib, g, jb) = of_visible(dZ(j, i, x, ib, g, jb) * slope);
    }

    // The gradient of a mask, of which the call gives the part for these queries and keys, in vectors of keys; those past the last whole
    // vector one by one. Where a mask's elements are one, they have stride 0: so each is read and written in turn.
    void define_mask_gradient(const Expr &heads, const Expr &blocks_i, const Expr &blocks_j,
                              const std::function<Expr(Expr, Expr, Expr)> &row,
                              const std::function<Expr(Expr, Expr)> &rows) {
        const int lanes = params.lanes, vectors = params.block_keys() / lanes, of_panel = params.key_vectors;
        const Expr whole = n_k() / lanes;
        const auto add = [&](RDom &domain, const Expr &lane, const Expr &vector) {
            domain.where(domain[4] < rows(domain.x, domain.z));
            const Expr query = unsafe_promise_clamped(row(domain[4], domain.x, domain.z), 0, n_q() - 1),
                       head = unsafe_promise_clamped(domain.y, 0, heads - 1);
            dM(lane, vector, query, head) +=
                dZ(vector % of_panel * lanes + lane, domain[4], vector / of_panel, domain.x, domain.y, domain.z) /
                logit_unit();
        };
        dM(l, y, i, g) = undef<float>();
        r_mask = RDom({{0, blocks_i}, {0, heads}, {0, blocks_j}, {0, vectors}, {0, block_rows}}, "r");
        const Expr vector = r_mask.z * vectors + r_mask.w;
        r_mask.where(vector < whole);
        add(r_mask, l, unsafe_promise_clamped(vector, 0, (n_k() - 1) / lanes));
        r_mask_end = RDom({{0, blocks_i}, {0, heads}, {0, blocks_j}, {0, n_k() % lanes}, {0, block_rows}}, "r");
        const Expr last = (n_k() - 1) / lanes, first = r_mask_end.z * vectors;
        r_mask_end.where(r_mask_end.z == last / vectors);
        add(r_mask_end, unsafe_promise_clamped(r_mask_end.w, 0, lanes - 1),
            unsafe_promise_clamped(last, first, min(first + vectors - 1, last)));
    }

    static Expr is_hidden(const Expr &weight) { return strict_float(weight < 0.0f); }
    // A value, 0 where the key is hidden from the query, whose P this is.
    Expr guarded(const Expr &value, const Expr &weight) const {
        const Expr keep = select(is_hidden(weight), Expr(0u), UInt(32).max());
        return with_guard ? reinterpret<float>(reinterpret<uint32_t>(value) & keep) : value;
    }

    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes() {
        const Expr heads = q.dim(2).extent();
        // Not that there is one batch entry: knowing that a row of a gradient begins at a multiple of four floats from the first, Halide 21 loads
        // part of a vector of it as if the first were aligned.
        const auto same = [&](auto &&buffer, const Expr &columns, const Expr &rows, const Expr &of) {
            buffer.dim(0).set_bounds(0, columns);
            buffer.dim(1).set_bounds(0, rows);
            buffer.dim(2).set_bounds(0, of);
        };
        same(q, q.dim(0).extent(), n_q(), heads);
        same(k, q.dim(0).extent(), n_k(), 1);
        same(v, v.dim(0).extent(), n_k(), 1);
        same(out, v.dim(0).extent(), n_q(), heads);
        same(d_out, v.dim(0).extent(), n_q(), heads);
        for (auto *rows : {&lse, &d_lse}) {
            rows->dim(0).set_bounds(0, n_q()).set_stride(Expr());
            rows->dim(1).set_bounds(0, heads);
        }
        d_q_scale.dim(0).set_min(0).set_stride(Expr());
        same(dQ.output_buffer(), d(), n_q(), heads);
        same(dK.output_buffer(), d(), n_k(), 1);
        same(dV.output_buffer(), d_v(), n_k(), 1);
        if (with_d_mask) {
            OutputImageParam of_mask = dM.output_buffer();
            of_mask.dim(0).set_bounds(0, params.lanes);
            of_mask.dim(1).set_bounds(0, (n_k() + params.lanes - 1) / params.lanes);
            of_mask.dim(2).set_bounds(0, n_q());
            of_mask.dim(3).set_bounds(0, heads);
        }
    }

    std::vector<GeneratorOutput<Buffer<float, 4>> *> gradients;
    schedule::SpatialKeyBlocks params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(SpatialKeyBlocks, spatial_attention_key_blocks)
