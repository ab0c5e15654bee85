// What the algorithms of spatial attention share: their inputs, the features of a kernel, and the mathematics of one logit and of a
// row's softmax.
#pragma once
#include "Halide.h"

#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/math.h"
#include "schedules/common/features.h"

namespace muattn {

template<typename T>
class SpatialAttentionGenerator : public KernelGenerator<T> {
    template<typename X>
    using Param = Halide::GeneratorParam<X>;

public:
    using Expr = Halide::Expr;

    Param<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    // The axes of tables/kernels.json.
    Param<bool> with_lse{"with_lse", false};
    Param<Softcap> with_softcap{
        "with_softcap",
        Softcap::never,
        {{"never", Softcap::never}, {"always", Softcap::always}, {"optional", Softcap::optional}}};
    Param<Mask> with_mask{
        "with_mask",
        Mask::none,
        {{"none", Mask::none}, {"additive", Mask::additive}, {"boolean", Mask::boolean}, {"any", Mask::any}}};
    Param<bool> with_guard{"with_guard", false};  // keep NaN and infinity of hidden values out
    Param<int> head_dim{"head_dim", 0};           // d = d_v; 0: any d and d_v

    // Dimensions innermost first: (d, n, head, batch); masks (n_k, n_q, head, batch), each full or 1.
    Halide::GeneratorInput<Halide::Buffer<float, 4>> q{"q"}, k{"k"}, v{"v"};
    Halide::GeneratorInput<Halide::Buffer<float, 1>> scale{"scale"};  // per head
    // Per batch entry {window_first, window_last, key_length}: query i sees key j if window_first <= j - i < window_last and
    // j < key_length, at most n_k.
    Halide::GeneratorInput<Halide::Buffer<int32_t, 2>> visible{"visible"};
    Halide::GeneratorInput<int32_t> heads_per_kv{"heads_per_kv"};  // query heads to a key/value head
    // The least window_first and the greatest window_last of all batch entries, for what a tile computes: bounds inference counts on
    // numbers of the call alone.
    Halide::GeneratorInput<int32_t> window_first{"window_first"}, window_last{"window_last"};
    Halide::GeneratorInput<float> softcap{"softcap"};
    Halide::GeneratorInput<Halide::Buffer<float, 1>> sink{"sink"};  // per head, a logit without a value; -inf: none
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
    Expr d() const { return head_dim != 0 ? Expr(int(head_dim)) : q.dim(0).extent(); }
    Expr d_v() const { return head_dim != 0 ? Expr(int(head_dim)) : v.dim(0).extent(); }

    // Whether the call has a softcap, where that is optional. A GPU kernel has a condition of its own here: computed on the host,
    // it would be an argument of one bit, which Vulkan kernels misread.
    Expr has_softcap() const { return softcap_condition.defined() ? softcap_condition : Expr(softcap) > 0.0f; }
    Expr softcap_condition;

    Expr key_length(const Expr &b) const { return visible(2, b); }

    // A query sees a key of batch entry b, as far as causal, window and key lengths say.
    Expr in_window(const Expr &query, const Expr &key, const Expr &b) const {
        return key - query >= visible(0, b) && key - query < visible(1, b) && key < key_length(b);
    }

    // What the product of a query and a key is multiplied with: it is then the logit in units of log 2, or, with softcap, what its tanh
    // is taken of.
    Expr logit_scale(const Expr &head) const {
        using namespace Halide;
        // Not by 0, even where the result is not selected: code for GPUs may assume that no infinity occurs.
        const Expr divisor = with_softcap == Softcap::optional ? select(has_softcap(), softcap, 1.0f) : Expr(softcap);
        const Expr to_cap = scale(head) / divisor, plain = scale(head) * kLog2E;
        return with_softcap == Softcap::never    ? plain
               : with_softcap == Softcap::always ? to_cap
                                                 : select(has_softcap(), to_cap, plain);
    }
    // Column e of a query, ready for the product.
    Expr scaled_query(const Expr &e, const Expr &query, const Expr &head, const Expr &b) const {
        return q(Halide::min(Halide::likely(e), d() - 1), Halide::min(query, n_q() - 1), head, b) * logit_scale(head);
    }

    // The logit in units of log 2, from the product.
    Expr capped(const Expr &product) const {
        const Expr logit = tanh_accurate(product, this->get_target()) * (softcap * kLog2E);
        return with_softcap == Softcap::never    ? product
               : with_softcap == Softcap::always ? logit
                                                 : Halide::select(has_softcap(), logit, product);
    }

    // What a mask adds to the logit of (query, key) in units of log 2: for any mask the additive one, else the kernel's own;
    // kMasked where a boolean mask hides the key. Rounded by strict_float: a product that is added to a logit there and
    // then might become part of an FMA, one that is kept in memory first cannot, and a mask would give other bits written out than
    // broadcast.
    Expr mask_bias(const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        return with_mask == Mask::boolean ? Halide::select(allowed(query, key, head, b), 0.0f, kMasked)
                                          : Halide::strict_float(mask_at(additive_mask, query, key, head, b) * kLog2E);
    }
    // The boolean mask.
    Expr allowed(const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        return mask_at(boolean_mask, query, key, head, b) != 0;
    }
    // A dimension of extent 1 is the same for all.
    template<typename Mask>
    Expr mask_at(const Mask &mask, const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        const auto at = [&](int dim, const Expr &y) { return Halide::min(y, mask.dim(dim).extent() - 1); };
        Expr mask_key = at(0, key);
        if (mask_has_all_keys.defined()) {
            const Expr inside = Halide::unsafe_promise_clamped(key, 0, mask.dim(0).extent() - 1);
            mask_key = Halide::select(mask_has_all_keys, inside, mask_key);
        }
        return mask(mask_key, at(1, query), at(2, head), at(3, b));
    }
    // Condition under which the kernel's mask has a number for each key: then the end of a row is no reason to gather.
    // Defined for a schedule with code of its own for that.
    Expr mask_has_all_keys;
    Expr masked(const Expr &logit, const Expr &bias) const {
        return Halide::select(is_masked(bias), kMasked, logit + bias);
    }
    // A NaN hides nothing.
    Expr is_masked(const Expr &bias) const {
        const Expr low = bias < kInitialMax;
        return with_mask == Mask::boolean ? low : Halide::strict_float(low);
    }
    // Condition under which masks are contiguous along keys.
    Expr dense_masks() const { return additive_mask.dim(0).stride() == 1 && boolean_mask.dim(0).stride() == 1; }
    // Condition under which masks are the same along a dimension.
    Expr same_masks(int dim) const {
        return additive_mask.dim(dim).extent() == 1 && boolean_mask.dim(dim).extent() == 1;
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
    static Expr normalised(const Expr &o, const Expr &l) { return o * Halide::select(is_zero(l), 0.0f, 1.0f / l); }
    static Expr log_sum_exp(const Expr &m, const Expr &l) {
        // log() of a NaN is some number.
        return Halide::select(Halide::is_nan(l), l, is_zero(l), minus_infinity(), m * kLn2 + Halide::log(l));
    }

    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes(const Halide::Func &out) {
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
        sink.dim(0).set_min(0).set_stride(Expr());
        visible.dim(0).set_bounds(0, 3);
        visible.dim(1).set_min(0);
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
        additive_mask.set_estimates(one);
        boolean_mask.set_estimates(one);
        out.set_estimates(tensor);
    }

    Halide::GeneratorOutput<Halide::Func> *output = nullptr;
};

}  // namespace muattn
