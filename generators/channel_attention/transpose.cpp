// A matrix transposed: out[j, i] = x[i, j]. What out has past the end of x repeats x's last row.
#include "transpose.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/transpose_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelTranspose : public KernelGenerator<ChannelTranspose>, ChannelTransposeStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelMapRows> numbers;

    Input<Buffer<float, 2>> x{"x"};          // (j, i)
    Output<Buffer<float, 2>> output{"out"};  // (i, j)

    void generate() {
        params = overridden(schedule::ChannelMapRows::defaults(schedule::machine(machine)), numbers.values());
        const Expr rows = x.dim(1).extent(), columns = x.dim(0).extent(), side = params.transpose_side();
        holds_block = min(rows, columns) >= side;
        const Expr column = unsafe_promise_clamped(select(holds_block, j, min(j, columns - 1)), 0, columns - 1);
        block(j, i) = x(column, min(likely(i), rows - 1));
        out(i, j) = block(j, i);
        output = out;
    }

    void schedule() {
        OutputImageParam buffer = out.output_buffer();
        x.dim(0).set_bounds(0, buffer.dim(1).extent());
        x.dim(1).set_min(0);
        buffer.dim(0).set_min(0);
        buffer.dim(1).set_min(0);
        schedule_channel_transpose_cpu(*this, params, schedule::machine(machine).scalable);
    }

private:
    schedule::ChannelMapRows params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelTranspose, channel_attention_transpose)
