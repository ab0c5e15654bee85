// Tokens times a matrix of channels, on channels-last arrays: out[t, i] = factor (sum_j w[i, j] x[t, j] + c[i] z[t, i]), of one head, the
// last term where it is asked for. With the attention map and V it is channel attention's output; with maps of gradients, the
// gradients of Q, K and V; c z is what goes through the norms of normalised channels.
#include "channels_last_product.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/channels_last_product_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsLastProduct : public KernelGenerator<ChannelsLastProduct>, ChannelsLastProductStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    GeneratorParam<int> block_vectors{"with_block_vectors", 0};  // of channels of the output; 0: as the schedule has it
    NumberParams<schedule::ChannelsLastProduct> numbers;

    Input<Buffer<float, 2>> w{"w"};          // (channel of out, channel of x); whole blocks of the former
    Input<Buffer<float, 2>> x{"x"}, z{"z"};  // (channel, token)
    Input<Buffer<float, 1>> z_factors{"c"};  // (channel)
    Input<int32_t> z_terms{"z_terms"};       // 1, or 0
    Input<float> factor{"factor"};
    Output<Buffer<float, 2>> output{"out"};  // (channel, token)

    void generate() {
        params = overridden(schedule::ChannelsLastProduct::defaults(schedule::machine(machine), block_vectors),
                            numbers.values());
        const Expr n = x.dim(1).extent(), d_x = x.dim(0).extent(), d = z_factors.dim(0).extent();
        const Expr token = min(likely(t), n - 1);
        r_j = RDom(0, d_x, "r_j");
        const int columns = params.block_columns;
        r_jb = RDom(0, columns, "r_jb");
        r_jb.where(c * columns + r_jb < d_x);
        r_cj = RDom(0, (d_x + columns - 1) / columns, "r_cj");
        many_columns = d_x > columns;

        sum(i, t) += w(i, r_j) * x(r_j, token);
        const Expr column = unsafe_promise_clamped(c * columns + r_jb, 0, d_x - 1);
        block_sum(i, t, c) += w(i, column) * x(column, token);
        sum_of_blocks(i, t) += block_sum(i, t, r_cj);
        adds_z = z_terms == 1;
        const Expr product = select(many_columns, sum_of_blocks(i, t), sum(i, t));
        out(i, t) = (product + select(adds_z, z_factors(i) * z(i, t), 0.0f)) * factor;
        whole_block = d >= params.block() && n >= params.token_unroll;
        output = out;
    }

    void schedule() {
        OutputImageParam buffer = out.output_buffer();
        w.dim(0).set_min(0);
        w.dim(1).set_bounds(0, x.dim(0).extent());
        x.dim(0).set_min(0);
        x.dim(1).set_min(0);
        z_factors.dim(0).set_min(0);
        z.dim(0).set_bounds(0, z_factors.dim(0).extent());
        z.dim(1).set_bounds(0, x.dim(1).extent());
        buffer.dim(0).set_bounds(0, z_factors.dim(0).extent());
        buffer.dim(1).set_bounds(0, x.dim(1).extent());
        schedule_channels_last_product_cpu(*this, params);
    }

private:
    schedule::ChannelsLastProduct params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsLastProduct, channel_attention_channels_last_product)
