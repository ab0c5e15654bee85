// What the forward algorithms of spatial attention share: their inputs and outputs, and the mathematics of a row's softmax.
#pragma once
#include "Halide.h"

#include "generators/spatial_attention/logits.h"

namespace muattn {

template<typename T>
class SpatialAttentionGenerator : public SpatialLogits<T> {
public:
    using Base = SpatialLogits<T>;
    using Base::k, Base::n_k, Base::n_q, Base::q, Base::scale, Base::softcap, Base::additive_mask, Base::boolean_mask;
    using typename Base::Expr;

    Halide::GeneratorParam<bool> with_lse{"with_lse", false};

    Halide::GeneratorInput<Halide::Buffer<void, 4>> v{"v"};  // (d_v, n_k, head, batch)
    // Per batch entry {window_first, window_last, key_length}: query i sees key j if window_first <= j - i < window_last and
    // j < key_length, at most n_k.
    Halide::GeneratorInput<Halide::Buffer<int32_t, 2>> visible{"visible"};
    Halide::GeneratorInput<int32_t> heads_per_kv{"heads_per_kv"};  // query heads to a key/value head
    // The least window_first and the greatest window_last of all batch entries, for what a tile computes: bounds inference counts on
    // numbers of the call alone.
    Halide::GeneratorInput<int32_t> window_first{"window_first"}, window_last{"window_last"};
    Halide::GeneratorInput<Halide::Buffer<float, 1>> sink{"sink"};  // per head, a logit without a value; -inf: none
    Halide::GeneratorInput<float> output_multiplier{"output_multiplier"};

    // With lse the output is the pair {out, lse}. Halide gives a pair one set of dimensions, so lse has an innermost
    // dimension of extent d_v and stride 0: its one element per row is written d_v times with the same bits.
    void configure() {
        Base::configure();
        v.set_type(storage_of(this->kv_type));
        output = this->template add_output<Halide::Func>(
            "out", std::vector<Halide::Type>(with_lse ? 2 : 1, Halide::Float(32)), 4);
    }

protected:
    Expr d_v() const { return this->columns_of(v); }
    Expr key_length(const Expr &b) const { return visible(2, b); }

    // A query sees a key of batch entry b, as far as causal, window and key lengths say.
    Expr in_window(const Expr &query, const Expr &key, const Expr &b) const {
        return key - query >= visible(0, b) && key - query < visible(1, b) && key < key_length(b);
    }

    // A value, +0 where its key is hidden from the row whose logit this is.
    static Expr guarded(const Expr &value, const Expr &logit) {
        using namespace Halide;
        const Expr keep = select(logit == kMasked, Expr(0u), UInt(32).max());
        return reinterpret<float>(reinterpret<uint32_t>(value) & keep);
    }

    // What a row's softmax has before its first key: the head's sink, if there is one. Every algorithm starts, or ends, with this maximum,
    // in units of log 2, and this sum, relative to it.
    Expr initial_max(const Expr &head) const {
        return Halide::select(has_sink(head), sink(head) * kLog2E, kInitialMax);
    }
    Expr initial_sum(const Expr &head) const { return Halide::select(has_sink(head), 1.0f, 0.0f); }
    // The same sum, relative to the maximum m of all keys and the sink.
    Expr initial_sum(const Expr &head, const Expr &m) const {
        return initial_sum(head) * exp2_nonpositive(initial_max(head) - m, this->get_target());
    }
    // -infinity is compared, never computed with: code for GPUs may assume that there is none.
    Expr has_sink(const Expr &head) const { return Halide::strict_float(sink(head) > kInitialMax); }

    // Where that ends. A row that sees no key has l = 0: output 0, lse -inf.
    Expr normalised(const Expr &o, const Expr &l) const {
        return o * Halide::select(is_zero(l), 0.0f, output_multiplier / l);
    }
    static Expr log_sum_exp(const Expr &m, const Expr &l) {
        // log() of a NaN is some number.
        return Halide::select(Halide::is_nan(l), l, is_zero(l), minus_infinity(), m * kLn2 + Halide::log(l));
    }

    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes(const Halide::Func &out) {
        this->declare_input_shapes();
        this->declare_value_shapes(v);
        sink.dim(0).set_min(0).set_stride(Expr());
        visible.dim(0).set_bounds(0, 3);
        visible.dim(1).set_min(0);
        std::vector<Halide::OutputImageParam> buffers = out.output_buffers();
        buffers[0].dim(0).set_bounds(0, d_v());
        for (int dim = 1; dim < 4; dim++) {
            buffers[0].dim(dim).set_bounds(0, q.dim(dim).extent());
        }
        if (with_lse) {
            buffers[1].dim(0).set_stride(0);
        }
    }

    // Sizes for an autoscheduler, which asks for numbers: spatial/gpt2_1024 of bench/shapes.json, on which ./dev tune measures its
    // schedules.
    void estimate(Halide::Func &out) {
        const Halide::Region tensor{{0, 64}, {0, 1024}, {0, 12}, {0, 1}}, one{{0, 1}, {0, 1}, {0, 1}, {0, 1}};
        for (auto *input : {&q, &k, &v}) {
            input->set_estimates(tensor);
        }
        scale.set_estimates({{0, 12}});
        visible.set_estimates({{0, 3}, {0, 1}});
        heads_per_kv.set_estimate(1);
        window_first.set_estimate(-1024);
        window_last.set_estimate(1);
        softcap.set_estimate(0.0f);
        sink.set_estimates({{0, 12}});
        output_multiplier.set_estimate(1.0f);
        additive_mask.set_estimates(one);
        boolean_mask.set_estimates(one);
        out.set_estimates(tensor);
    }

    Halide::GeneratorOutput<Halide::Func> *output = nullptr;
};

}  // namespace muattn
