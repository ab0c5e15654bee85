// A map of products between the channels of two channels-last arrays, sums over tokens: map[i, j] = sum_t x[t, i] y[t, j], of one
// head. With Q and K it is channel attention's map before its scale; with the gradient of the output and V the gradient of the
// attention map. A task takes some channels of x, all of y, and a span of tokens.
#include "channels_last_map.h"
#include "generators/common/generator.h"
#include "generators/common/loads.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/channels_last_map_cpu.h"
#include "vectors.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsLastMap : public KernelGenerator<ChannelsLastMap>, ChannelsLastMapStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    GeneratorParam<int> block_vectors{"with_block_vectors", 0};  // of channels of x; 0: as the schedule has it
    NumberParams<schedule::ChannelsLastMap> numbers;

    Input<Buffer<float, 2>> x{"x"}, y{"y"};  // (channel, token)
    Input<int32_t> columns{"columns"};       // of the map: the channels of x or more; what is past these means nothing
    Output<Buffer<float, 2>> output{"map"};  // (channel of x, channel of y)

    void generate() {
        const schedule::Machine m = schedule::machine(machine);
        params = overridden(schedule::ChannelsLastMap::defaults(m, block_vectors), numbers.values());
        const int lanes = params.lanes;
        const Expr n = x.dim(1).extent(), d_x = x.dim(0).extent(), d_y = y.dim(0).extent(), chunk = params.chunk(n);
        r_u = RDom(0, chunk, "r_u");
        r_u.where(c * chunk + r_u < n);
        r_c = RDom(0, (n + chunk - 1) / chunk, "r_c");
        holds_vector = columns >= lanes;
        x_row = params.copy_row(Expr(columns));
        y_row = params.copy_row(d_y);

        const Expr token = min(c * chunk + u, n - 1);
        X(i, u, c) = load_or_zero(i, d_x, [&](const Expr &channel) { return x(channel, token); });
        Y(j, u, c) = load_or_zero(j, d_y, [&](const Expr &channel) { return y(channel, token); });
        copied(i, j, c) += X(i, r_u, c) * Y(j, r_u, c);
        const bool may_mask = schedule::may_mask(m, params.block_vectors);
        const Expr whole_blocks = d_x % params.block() == 0 && columns == d_x;
        tokens_in_place = used_in_place(may_mask || whole_blocks, x.dim(1).stride(), y.dim(1).stride());
        const Expr token_c = unsafe_promise_clamped(c * chunk + r_u, 0, n - 1);
        const Expr x_in_place = x(unsafe_promise_clamped(i, 0, d_x - 1), token_c);
        in_place(i, j, c) += (may_mask ? load_where(i < d_x, x_in_place) : x_in_place) * y(min(j, d_y - 1), token_c);
        S(i, j) = 0.0f;
        S(i, j) += select(tokens_in_place, in_place(i, j, r_c), copied(i, j, r_c));
        out(i, j) = S(i, j);
        output = out;
    }

    void schedule() {
        for (auto *input : {&x, &y}) {
            input->dim(0).set_min(0);
            input->dim(1).set_bounds(0, x.dim(1).extent());
        }
        OutputImageParam map = out.output_buffer();
        map.dim(0).set_bounds(0, columns);
        map.dim(1).set_bounds(0, y.dim(0).extent());
        schedule_channels_last_map_cpu(*this, params);
    }

private:
    schedule::ChannelsLastMap params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsLastMap, channel_attention_channels_last_map)
