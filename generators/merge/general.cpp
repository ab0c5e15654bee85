// Merges two attention results over disjoint sets of keys by their log-sum-exp: with m = max(lse_a, lse_b) and weights
// w = e^(lse - m),
//   out = (w_a a + w_b b) / (w_a + w_b),  lse = m + log(w_a + w_b).
// A side that saw no key (lse -inf) has weight 0; if neither did, out = 0 and lse = -inf.
#include "generators/common/elements.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/math.h"

namespace {

using namespace Halide;
using namespace muattn;

class Merge : public KernelGenerator<Merge> {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    GeneratorParam<Element> q_type{"q_type", Element::float32, element_names()};    // of a
    GeneratorParam<Element> kv_type{"kv_type", Element::float32, element_names()};  // of b
    GeneratorParam<Element> out_type{"out_type", Element::float32, element_names()};

    // (d_v, n_q, head, batch), and the same without d_v.
    Input<Buffer<void, 4>> a{"a"}, b{"b"};
    Input<Buffer<float, 3>> lse_a{"lse_a"}, lse_b{"lse_b"};
    Output<Func> *merged = nullptr;  // {out, lse}; generators/spatial_attention/inputs.h says why lse has d_v

    void configure() {
        a.set_type(storage_of(q_type));
        b.set_type(storage_of(kv_type));
        merged = add_output<Func>("merged", {storage_of(out_type), Float(32)}, 4);
    }

    void generate() {
        const Expr a_lse = lse_a(row, h, batch), b_lse = lse_b(row, h, batch), top = max(a_lse, b_lse);
        const auto weight = [&](const Expr &lse) {
            // NaN is not 'no key': it comes through.
            return select(is_nan(lse), lse, lse <= kInitialMax, 0.0f,
                          exp2_nonpositive((lse - top) * kLog2E, get_target()));
        };
        W(row, h, batch) = Tuple(weight(a_lse), weight(b_lse));
        const Expr w_a = W(row, h, batch)[0], w_b = W(row, h, batch)[1], sum = w_a + w_b;
        LSE(row, h, batch) = select(is_nan(sum), sum, is_zero(sum), minus_infinity(), top + log(sum));
        // A select, not a product with 0: what a side without keys holds must not matter.
        const Expr from_a = select(is_zero(w_a), 0.0f, w_a * as_float(a(e, row, h, batch), q_type, get_target()));
        const Expr from_b = select(is_zero(w_b), 0.0f, w_b * as_float(b(e, row, h, batch), kv_type, get_target()));
        const Expr o = (from_a + from_b) * select(is_zero(sum), 0.0f, 1.0f / sum);
        out(e, row, h, batch) = Tuple(rounded(o, out_type, get_target()), LSE(row, h, batch));
        *merged = out;
    }

    void schedule() {
        std::vector<OutputImageParam> buffers = out.output_buffers();
        for (int dim = 0; dim < 4; dim++) {
            a.dim(dim).set_min(0);
            b.dim(dim).set_bounds(0, a.dim(dim).extent());
            buffers[0].dim(dim).set_bounds(0, a.dim(dim).extent());
        }
        buffers[1].dim(0).set_stride(0);
        for (auto *lse : {&lse_a, &lse_b}) {
            lse->dim(0).set_stride(Expr());
            for (int dim = 0; dim < 3; dim++) {
                lse->dim(dim).set_bounds(0, a.dim(dim + 1).extent());
            }
        }
        Var task("task");
        if (get_target().has_gpu_feature()) {
            Var block_x("block_x"), block_y("block_y"), x("x"), y("y");
            out.fuse(h, batch, task)
                .gpu_tile(e, row, block_x, block_y, x, y, 32, 4, TailStrategy::GuardWithIf)
                .gpu_blocks(task);
            return;
        }
        const int lanes = schedule::machine(machine).lanes;
        out.fuse(h, batch, task).parallel(task).vectorize(e, lanes, TailStrategy::GuardWithIf);
        W.compute_at(out, row);
        LSE.compute_at(out, row);
    }

private:
    Var e{"e"}, row{"row"}, h{"h"}, batch{"batch"};
    Func W{"W"}, LSE{"LSE"}, out{"out"};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(Merge, merge_general)
