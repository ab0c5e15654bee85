// Rows of one element type in another: widened to float32, exact, or rounded to nearest even.
#include "generators/common/elements.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"

namespace {

using namespace Halide;
using namespace muattn;

class Convert : public KernelGenerator<Convert> {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    GeneratorParam<Element> q_type{"q_type", Element::float32, element_names()};    // of x
    GeneratorParam<Element> kv_type{"kv_type", Element::float32, element_names()};  // as out_type
    GeneratorParam<Element> out_type{"out_type", Element::float32, element_names()};

    Input<Buffer<void, 3>> x{"x"};  // (column, row, head)
    Output<Buffer<void, 3>> out{"out"};

    void configure() {
        x.set_type(storage_of(q_type));
        out.set_type(storage_of(out_type));
    }

    void generate() { out(e, row, h) = rounded(as_float(x(e, row, h), q_type, get_target()), out_type, get_target()); }

    void schedule() {
        for (int dim = 0; dim < 3; dim++) {
            x.dim(dim).set_bounds(0, out.dim(dim).extent());
            out.dim(dim).set_min(0);
        }
        const int lanes = schedule::machine(machine).lanes;
        Func(out).vectorize(e, lanes, TailStrategy::GuardWithIf);
    }

private:
    Var e{"e"}, row{"row"}, h{"h"};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(Convert, convert_general)
