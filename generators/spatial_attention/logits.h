// The logits of spatial attention: what every algorithm has of inputs and features, and the mathematics of one logit.
#pragma once
#include "Halide.h"

#include "generators/common/elements.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/math.h"
#include "schedules/common/features.h"

namespace muattn {

template<typename T>
class SpatialLogits : public KernelGenerator<T> {
    template<typename X>
    using Param = Halide::GeneratorParam<X>;

public:
    using Expr = Halide::Expr;

    Param<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    // The axes of tables/kernels.json.
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
    Param<Element> kv_type{"kv_type", Element::float32, element_names()};

    // Dimensions innermost first: (d, n, head, batch); masks (n_k, n_q, head, batch), each full or 1; of a mask
    // that is 1 along keys the stride there is 0.
    Halide::GeneratorInput<Halide::Buffer<void, 4>> q{"q"}, k{"k"};   // q: float32
    Halide::GeneratorInput<Halide::Buffer<float, 1>> scale{"scale"};  // per head
    Halide::GeneratorInput<float> softcap{"softcap"};
    Halide::GeneratorInput<Halide::Buffer<float, 4>> additive_mask{"additive_mask"};
    Halide::GeneratorInput<Halide::Buffer<uint8_t, 4>> boolean_mask{"boolean_mask"};

    void configure() {
        q.set_type(storage_of(Element::float32));
        k.set_type(storage_of(kv_type));
    }

protected:
    // An element of k or v.
    Expr of_kv(const Expr &element) const { return as_float(element, kv_type, this->get_target()); }

    Expr n_q() const { return q.dim(1).extent(); }
    Expr n_k() const { return k.dim(1).extent(); }
    Expr d() const { return head_dim != 0 ? Expr(int(head_dim)) : q.dim(0).extent(); }
    // Of values, which are an input of the algorithms that read them.
    template<typename Values>
    Expr columns_of(const Values &v) const {
        return head_dim != 0 ? Expr(int(head_dim)) : v.dim(0).extent();
    }

    // Whether the call has a softcap, where that is optional. A GPU kernel has a condition of its own here: computed on the host,
    // it would be an argument of one bit, which Vulkan kernels misread.
    Expr has_softcap() const { return softcap_condition.defined() ? softcap_condition : Expr(softcap) > 0.0f; }
    Expr softcap_condition;

    // What the product of a query and a key is multiplied with: it is then the logit in units of log 2, or, with softcap, what its tanh
    // is taken of.
    Expr logit_scale(const Expr &head) const { return in_units(scale(head)); }
    Expr in_units(const Expr &scale) const {
        using namespace Halide;
        // Not by 0, even where the result is not selected: code for GPUs may assume that no infinity occurs.
        const Expr divisor = with_softcap == Softcap::optional ? select(has_softcap(), softcap, 1.0f) : Expr(softcap);
        const Expr to_cap = scale / divisor, plain = scale * kLog2E;
        return with_softcap == Softcap::never    ? plain
               : with_softcap == Softcap::always ? to_cap
                                                 : select(has_softcap(), to_cap, plain);
    }
    // Column e of a query, ready for the product.
    Expr scaled_query(const Expr &e, const Expr &query, const Expr &head, const Expr &b) const {
        return q(Halide::min(Halide::likely(e), d() - 1), Halide::min(query, n_q() - 1), head, b) * logit_scale(head);
    }

    // The logit in units of log 2, from the product. Rounded: part of an FMA with a mask in one kernel and not in another, it would have other
    // bits where a call takes that.
    Expr capped(const Expr &product) const {
        const Expr logit = Halide::strict_float(tanh_accurate(product, this->get_target()) * (softcap * kLog2E));
        return with_softcap == Softcap::never    ? product
               : with_softcap == Softcap::always ? logit
                                                 : Halide::select(has_softcap(), logit, product);
    }

    // What a mask adds to the logit of (query, key) in units of log 2: for any mask the additive one, else the kernel's own.
    Expr mask_bias(const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        return bias_of(with_mask == Mask::boolean ? mask_at(boolean_mask, query, key, head, b)
                                                  : mask_at(additive_mask, query, key, head, b));
    }
    // The same, from the mask's element; kMasked where a boolean mask hides the key. Rounded by strict_float: a product that is added to a
    // logit there and then might become part of an FMA, one that is kept in memory first cannot, and a mask would give other bits written
    // out than broadcast.
    Expr bias_of(const Expr &element) const {
        return with_mask == Mask::boolean ? Halide::select(element != 0, 0.0f, kMasked)
                                          : Halide::strict_float(element * kLog2E);
    }
    // The boolean mask.
    Expr allowed(const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        return mask_at(boolean_mask, query, key, head, b) != 0;
    }
    // A dimension of extent 1 is the same for all.
    template<typename Mask>
    Expr mask_at(const Mask &mask, const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        return mask_at_key(mask, query, Halide::min(key, mask.dim(0).extent() - 1), head, b);
    }
    template<typename Mask>
    Expr mask_at_key(const Mask &mask, const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        const auto at = [&](int dim, const Expr &y) { return Halide::min(y, mask.dim(dim).extent() - 1); };
        return mask(key, at(1, query), at(2, head), at(3, b));
    }
    // An element of the kernel's one mask, for a key that the call has. Along keys the mask may be 1: its stride is 0 then, so that no
    // minimum is needed, which would make vectors gather.
    Expr mask_element(const Expr &query, const Expr &key, const Expr &head, const Expr &b) const {
        const auto at = [&](const auto &mask) {
            return mask_at_key(mask, query, Halide::unsafe_promise_clamped(key, 0, mask.dim(0).extent() - 1), head, b);
        };
        return with_mask == Mask::boolean ? at(boolean_mask) : at(additive_mask);
    }
    // The sum is strict as well as its products: LLVM 21 for ARM asks the sum alone whether it may become an FMA.
    Expr masked(const Expr &logit, const Expr &bias) const {
        return Halide::select(is_masked(bias), kMasked, Halide::strict_float(logit + bias));
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

    // The runtime checks shapes; here they are told to the compiler.
    template<typename Values>
    void declare_value_shapes(Values &v) {
        for (int dim = 0; dim < 4; dim++) {
            v.dim(dim).set_min(0);
        }
        v.dim(1).set_bounds(0, k.dim(1).extent());
    }
    void declare_input_shapes() {
        for (int dim = 0; dim < 4; dim++) {
            for (auto *input : {&q, &k}) {
                input->dim(dim).set_min(0);
            }
            additive_mask.dim(dim).set_min(0);
            boolean_mask.dim(dim).set_min(0);
        }
        k.dim(0).set_bounds(0, q.dim(0).extent());
        // What is the same for all has stride 0.
        scale.dim(0).set_min(0).set_stride(Expr());
        additive_mask.dim(0).set_stride(Expr());
        boolean_mask.dim(0).set_stride(Expr());
    }
};

}  // namespace muattn
