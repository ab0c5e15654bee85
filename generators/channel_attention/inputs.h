// What the algorithms of channel attention share: their inputs and output, and the shapes of these.
#pragma once
#include "Halide.h"
#include "generators/common/elements.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"

namespace muattn {

template<typename T>
class ChannelAttentionGenerator : public KernelGenerator<T> {
public:
    Halide::GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    Halide::GeneratorParam<bool> with_normalize{"with_normalize",
                                                false};  // channels of Q and K to length 1 over tokens

    Halide::GeneratorParam<Element> q_type{"q_type", Element::float32, element_names()};
    Halide::GeneratorParam<Element> kv_type{"kv_type", Element::float32, element_names()};
    Halide::GeneratorParam<Element> out_type{"out_type", Element::float32, element_names()};

    // Dimensions innermost first: (d, n, head, batch), or with channels first (n, d, head, batch).
    Halide::GeneratorInput<Halide::Buffer<void, 4>> q{"q"}, k{"k"}, v{"v"};
    Halide::GeneratorInput<Halide::Buffer<float, 1>> scale{"scale"};  // per head
    Halide::GeneratorInput<float> output_multiplier{"output_multiplier"};
    Halide::GeneratorOutput<Halide::Buffer<void, 4>> output{"out"};

    void configure() {
        q.set_type(storage_of(q_type));
        k.set_type(storage_of(kv_type));
        v.set_type(storage_of(kv_type));
        output.set_type(storage_of(out_type));
    }

protected:
    // Elements of q, and of k and v, as float32; and what is written to out.
    Halide::Expr of_q(const Halide::Expr &x) const { return as_float(x, q_type, this->get_target()); }
    Halide::Expr of_kv(const Halide::Expr &x) const { return as_float(x, kv_type, this->get_target()); }
    Halide::Expr to_out(const Halide::Expr &x) const { return rounded(x, out_type, this->get_target()); }

    // The runtime checks shapes; here they are told to the compiler.
    void declare_shapes(const Halide::Func &out) {
        scale.dim(0).set_min(0).set_stride(Halide::Expr());  // one number for all is a vector of stride 0
        Halide::OutputImageParam buffer = out.output_buffer();
        for (int dim = 0; dim < 4; dim++) {
            q.dim(dim).set_min(0);
            for (auto *input : {&k, &v}) {
                input->dim(dim).set_bounds(0, q.dim(dim).extent());
            }
            buffer.dim(dim).set_bounds(0, q.dim(dim).extent());
        }
    }

    // Sizes for an autoscheduler, which asks for numbers: channel/mup_d128 of bench/shapes.json, on which ./dev tune measures its
    // schedules. Not a smaller d: Adams2019 rejects the RDom over value_columns where it is longer than d.
    void estimate(Halide::Func &out) {
        const Halide::Region tensor{{0, 128}, {0, 1024}, {0, 4}, {0, 4}};
        for (auto *input : {&q, &k, &v}) {
            input->set_estimates(tensor);
        }
        scale.set_estimates({{0, 4}});
        output_multiplier.set_estimate(1.0f);
        out.set_estimates(tensor);
    }
};

}  // namespace muattn
