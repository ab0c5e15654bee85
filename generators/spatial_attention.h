// What the variants of spatial attention share: inputs, the stages by the names of docs/design.md, and the mathematics
// of one chunk of keys.
#pragma once
#include "Halide.h"

#include "machines.h"
#include "math.h"
#include "schedules/spatial_attention_schedule.h"

namespace muattn {

struct SpatialAttentionStages {
    // Rows of a query tile: i. Keys of a chunk: j. Column of d or d_v: e. Column group of d_v: g. Tile: t. Chunk: c.
    // Span of chunks: p. Head: h. Batch: b.
    Halide::Var i{"i"}, j{"j"}, e{"e"}, g{"g"}, c{"c"}, t{"t"}, p{"p"}, h{"h"}, b{"b"};
    Halide::Var row{"row"};  // a query, counted from the start
    Halide::RDom r_e;        // over d, in the product Q K^T
    Halide::RDom r_j;        // over the keys of a chunk
    Halide::RDom r_c;        // over the chunks that the tile sees

    Halide::Func Q{"Q"};              // (i, e, t, h, b)     queries times scale, transposed
    Halide::Func K{"K"};              // (e, j, c, t, h, b)  the chunk's keys
    Halide::Func V{"V"};              // (e, j, c, t, h, b)  the chunk's values, columns padded to whole groups
    Halide::Func QK{"QK"};            // (i, j, c, t, h, b)  dot products
    Halide::Func bias{"bias"};        // (i, j, c, t, h, b)  the additive mask, transposed, in units of log 2
    Halide::Func allowed{"allowed"};  // (i, j, c, t, h, b)  the boolean mask, transposed, -1 or 0
    Halide::Func S{"S"};              // (i, j, c, t, h, b)  logits in units of log 2, masked
    Halide::Func M{"M"};              // (i, c, t, h, b)     row maximum within the chunk
    Halide::Func P{"P"};              // (i, j, c, t, h, b)  2^(S - M)
    Halide::Func L{"L"};              // (i, c, t, h, b)     row sum of P within the chunk
    Halide::Func PV{"PV"};            // (i, e, c, t, h, b)  P V within the chunk
    Halide::Func state{"state"};  // {m, l, o[0..group)}: the online softmax; (i, g, t, h, b), split (i, g, p, t, h, b)
    Halide::Func O{"O"};          // (i, e, t, h, b)     the normalised output
    Halide::Func LSE{"LSE"};      // (i, t, h, b)        natural logarithm of the row sum
    Halide::Func out{"out"};      // (e, row, h, b)      the output, with or without lse
};

enum class MaskKind { none, additive, boolean, any };  // both; a mask that lets everything pass where there is none

enum class SoftcapKind { never, always, optional };  // softcap 0: none

template<typename T>
class SpatialAttentionGenerator : public Halide::Generator<T>, protected SpatialAttentionStages {
    template<typename X>
    using Param = Halide::GeneratorParam<X>;

public:
    using Expr = Halide::Expr;

    Param<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    // The numbers of the schedule; 0 leaves the machine's default.
    Param<int> row_vectors{"row_vectors", 0}, key_unroll{"key_unroll", 0}, value_group{"value_group", 0};
    Param<int> tile_blocks{"tile_blocks", 0}, chunk_keys{"chunk_keys", 0}, span_chunks{"span_chunks", 0};
    // The kernel's kind.
    Param<bool> with_lse{"with_lse", false};
    Param<SoftcapKind> softcap_kind{
        "softcap_kind",
        SoftcapKind::never,
        {{"never", SoftcapKind::never}, {"always", SoftcapKind::always}, {"optional", SoftcapKind::optional}}};
    Param<MaskKind> mask_kind{"mask",
                              MaskKind::none,
                              {{"none", MaskKind::none},
                               {"additive", MaskKind::additive},
                               {"boolean", MaskKind::boolean},
                               {"any", MaskKind::any}}};
    Param<bool> guard_values{"guard_values", false};  // keep NaN and infinity of hidden values out
    Param<int> head_dim{"head_dim", 0};               // d = d_v of a GPU kernel; 0: any d and d_v

    // Dimensions innermost first: (d, n, head, batch); masks (n_k, n_q, head, batch), each full or 1.
    Halide::GeneratorInput<Halide::Buffer<float, 4>> q{"q"}, k{"k"}, v{"v"};
    Halide::GeneratorInput<Halide::Buffer<float, 1>> scale{"scale"};                // per head
    Halide::GeneratorInput<Halide::Buffer<int32_t, 1>> key_lengths{"key_lengths"};  // per batch entry, at most n_k
    Halide::GeneratorInput<int32_t> heads_per_kv{"heads_per_kv"};                   // query heads to a key/value head
    Halide::GeneratorInput<int32_t> window_first{"window_first"}, window_last{"window_last"};
    Halide::GeneratorInput<float> softcap{"softcap"};
    Halide::GeneratorInput<Halide::Buffer<float, 4>> additive_mask{"additive_mask"};
    Halide::GeneratorInput<Halide::Buffer<uint8_t, 4>> boolean_mask{"boolean_mask"};

    // With lse the output is the pair {out, lse}. Halide gives a pair one set of dimensions, so lse has an innermost
    // dimension of extent d_v and stride 0: its one element per row is written d_v times with the same bits.
    void configure() {
        output = this->template add_output<Halide::Func>(
            "out", std::vector<Halide::Type>(with_lse ? 2 : 1, Halide::Float(32)), 4);
    }

protected:
    Expr n_q() const { return q.dim(1).extent(); }
    Expr n_k() const { return k.dim(1).extent(); }
    Expr d() const { return head_dim ? Expr(int(head_dim)) : q.dim(0).extent(); }
    Expr d_v() const { return head_dim ? Expr(int(head_dim)) : v.dim(0).extent(); }

    void read_parameters(const schedule::SpatialAttentionSchedule &defaults) {
        params = defaults;
        const int numbers[] = {row_vectors, key_unroll, value_group, tile_blocks, chunk_keys, span_chunks};
        params.override_with(numbers);
        _halide_user_assert(params.chunk_keys % params.key_unroll == 0)
            << "chunk_keys must be a multiple of key_unroll";
    }

    // Query i sees key j, as far as causal, window and key lengths say.
    Expr in_window(const Expr &query, const Expr &key) const {
        return key - query >= window_first && key - query < window_last && key < key_lengths(b);
    }

    // A query at (query, head), ready for the product: QK is then the logit in units of log 2, or, with softcap, what its
    // tanh is taken of.
    Expr scaled_query(const Expr &query, const Expr &head) const {
        const Expr capped = scale(head) / softcap, plain = scale(head) * kLog2E;
        const Expr factor = softcap_kind == SoftcapKind::never    ? plain
                            : softcap_kind == SoftcapKind::always ? capped
                                                                  : Halide::select(softcap > 0.0f, capped, plain);
        return q(e, Halide::min(query, n_q() - 1), head, b) * factor;
    }

    // From QK to M, P, L and PV of a chunk. Row i of the tile is (query, head), key is key j of chunk c, last_key the last that
    // may be read.
    void define_chunk(const Expr &query, const Expr &head, const Expr &key, const Expr &last_key) {
        using namespace Halide;
        Expr logit = QK(i, j, c, t, h, b), sees = likely(in_window(query, key));
        if (softcap_kind != SoftcapKind::never) {
            const Expr capped = tanh_accurate(logit) * (softcap * kLog2E);
            logit = softcap_kind == SoftcapKind::always ? capped : select(softcap > 0.0f, capped, logit);
        }
        const Expr mask_key = clamp(key, 0, last_key), mask_query = min(query, n_q() - 1);
        // A dimension of extent 1 is the same for all.
        const auto mask_at = [&](auto &user_mask) {
            const auto at = [&](int dim, const Expr &x) { return min(x, user_mask.dim(dim).extent() - 1); };
            return user_mask(at(0, mask_key), at(1, mask_query), at(2, head), at(3, b));
        };
        if (mask_kind == MaskKind::additive || mask_kind == MaskKind::any) {
            bias(i, j, c, t, h, b) = mask_at(additive_mask) * kLog2E;
            logit = select(bias(i, j, c, t, h, b) < kInitialMax, kMasked, logit + bias(i, j, c, t, h, b));
        }
        if (mask_kind == MaskKind::boolean || mask_kind == MaskKind::any) {
            allowed(i, j, c, t, h, b) = select(mask_at(boolean_mask) != 0, cast<int8_t>(-1), cast<int8_t>(0));
            logit = select(cast<int32_t>(allowed(i, j, c, t, h, b)) < 0, logit, kMasked);
        }
        S(i, j, c, t, h, b) = select(sees, logit, kMasked);

        M(i, c, t, h, b) = kInitialMax;
        M(i, c, t, h, b) = max(M(i, c, t, h, b), S(i, r_j, c, t, h, b));
        P(i, j, c, t, h, b) = exp2_nonpositive(S(i, j, c, t, h, b) - M(i, c, t, h, b));
        L(i, c, t, h, b) += P(i, r_j, c, t, h, b);
        Expr value = V(e, r_j, c, t, h, b);
        if (guard_values) {
            const Expr all = UInt(32).max(), none = Expr(0u);
            value =
                reinterpret<float>(reinterpret<uint32_t>(value) & select(S(i, r_j, c, t, h, b) == kMasked, none, all));
        }
        PV(i, e, c, t, h, b) += P(i, r_j, c, t, h, b) * value;
    }

    // {m, l, o} before any chunk.
    Halide::Tuple initial_state() const {
        std::vector<Expr> start(params.value_group + 2, 0.0f);
        start[0] = kInitialMax;
        return Halide::Tuple(start);
    }

    // {m, l, o} after chunk chunk_index, where the state so far is old and belongs to column group g.
    Halide::Tuple next_state(const Halide::FuncRef &old, const Expr &chunk_index) const {
        using namespace Halide;
        const Expr m = old[0], M_c = M(i, chunk_index, t, h, b), m_new = max(m, M_c);
        const Expr keep = exp2_nonpositive(m - m_new), add = exp2_nonpositive(M_c - m_new);
        std::vector<Expr> next{m_new, old[1] * keep + L(i, chunk_index, t, h, b) * add};
        for (int x = 0; x < params.value_group; x++) {
            next.push_back(old[2 + x] * keep + PV(i, g * params.value_group + x, chunk_index, t, h, b) * add);
        }
        return Tuple(next);
    }

    // A row that sees no key has l = 0: output 0, lse -inf.
    Expr normalised(const Expr &o, const Expr &l) const { return o * Halide::select(l == 0.0f, 0.0f, 1.0f / l); }
    Expr log_sum_exp(const Expr &m, const Expr &l) const {
        // log() of a NaN is some number.
        return Halide::select(l == 0.0f, minus_infinity(), Halide::is_nan(l), l, m * kLn2 + Halide::log(l));
    }

    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes() {
        for (int dim = 0; dim < 4; dim++) {
            for (auto *input : {&q, &k, &v, &additive_mask}) {
                input->dim(dim).set_min(0);
            }
            boolean_mask.dim(dim).set_min(0);
        }
        k.dim(0).set_bounds(0, q.dim(0).extent());
        v.dim(1).set_bounds(0, k.dim(1).extent());
        // What is the same for all has stride 0.
        scale.dim(0).set_min(0).set_stride(Expr());
        key_lengths.dim(0).set_min(0).set_stride(Expr());
        additive_mask.dim(0).set_stride(Expr());
        boolean_mask.dim(0).set_stride(Expr());
        std::vector<Halide::OutputImageParam> buffers = out.output_buffers();
        buffers[0].dim(0).set_bounds(0, d_v());
        for (int dim = 1; dim < 4; dim++) {
            buffers[0].dim(dim).set_bounds(0, q.dim(dim).extent());
        }
        if (with_lse) {
            buffers[1].dim(0).set_stride(0);
        }
    }

    Halide::GeneratorOutput<Halide::Func> *output = nullptr;
    schedule::SpatialAttentionSchedule params{};
};

}  // namespace muattn
