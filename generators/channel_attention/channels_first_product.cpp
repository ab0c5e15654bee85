// Tokens times a matrix of channels, on channels-first arrays: out[i, t] = factor (sum_j w[i, j] x[j, t] + c[i] z[i, t]), of one head;
// see channels_last_product.cpp. Tokens lie in the vector lanes: the output is a sum of rows of x.
#include "channels_first_product.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/channels_first_product_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsFirstProduct : public KernelGenerator<ChannelsFirstProduct>, ChannelsFirstProductStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelsFirstProduct> numbers;

    Input<Buffer<float, 2>> w{"w"};          // (channel of out, channel of x)
    Input<Buffer<float, 2>> x{"x"}, z{"z"};  // (token, channel)
    Input<Buffer<float, 1>> z_factors{"c"};  // (channel)
    Input<int32_t> z_terms{"z_terms"};       // 1, or 0
    Input<float> factor{"factor"};
    Output<Buffer<float, 2>> output{"out"};  // (token, channel)

    void generate() {
        params = overridden(schedule::ChannelsFirstProduct::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.tile_tokens % params.group() == 0)
            << "tile_tokens must be a multiple of token_vectors * lanes";
        const Expr n = x.dim(0).extent(), d_x = x.dim(1).extent(), d = z_factors.dim(0).extent();
        const Expr token = min(likely(t), n - 1);
        r_j = RDom(0, d_x, "r_j");
        X(t, j) = x(token, j);
        sum(t, i) += w(min(i, d - 1), r_j) * X(t, r_j);
        adds_z = z_terms == 1;
        out(t, i) = (sum(t, i) + select(adds_z, z_factors(i) * z(t, i), 0.0f)) * factor;
        whole_tile = n >= params.group() && d >= params.channel_group;
        output = out;
    }

    void schedule() {
        OutputImageParam buffer = out.output_buffer();
        w.dim(0).set_min(0);
        w.dim(1).set_bounds(0, x.dim(1).extent());
        x.dim(1).set_min(0);
        z_factors.dim(0).set_min(0);
        x.dim(0).set_min(0);
        z.dim(0).set_bounds(0, x.dim(0).extent());
        z.dim(1).set_bounds(0, z_factors.dim(0).extent());
        buffer.dim(0).set_bounds(0, x.dim(0).extent());
        buffer.dim(1).set_bounds(0, z_factors.dim(0).extent());
        schedule_channels_first_product_cpu(*this, params);
    }

private:
    schedule::ChannelsFirstProduct params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsFirstProduct, channel_attention_channels_first_product)
