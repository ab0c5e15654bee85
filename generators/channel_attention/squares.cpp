// Sums of squares over tokens: squares[i] = sum_t x[t, i]^2, of one head. Their roots are the norms of normalised channels.
#include "squares.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/squares_cpu.h"
#include "schedules/common/features.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelSquares : public KernelGenerator<ChannelSquares>, ChannelSquaresStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    GeneratorParam<Layout> layout{
        "with_layout",
        Layout::channels_last,
        {{"channels_last", Layout::channels_last}, {"channels_first", Layout::channels_first}}};
    NumberParams<schedule::ChannelSquares> numbers;

    Input<Buffer<float, 2>> x{"x"};  // (channel, token), or (token, channel) with channels first
    Output<Buffer<float, 1>> output{"squares"};

    void generate() {
        params = overridden(schedule::ChannelSquares::defaults(schedule::machine(machine)), numbers.values());
        const bool first = layout == Layout::channels_first;
        const int sums = params.sums(first), chunk = params.chunk_tokens;
        _halide_user_assert(chunk % sums == 0) << "chunk_tokens must be a multiple of the sums";
        const Expr n = x.dim(first ? 0 : 1).extent(), d = x.dim(first ? 1 : 0).extent();
        holds_vector = d >= params.lanes;
        r_u = RDom(0, chunk / sums, "r_u");
        r_u.where(c * chunk + r_u * sums < n);
        r_c = RDom(0, (n + chunk - 1) / chunk, "r_c");
        r_l = RDom(0, sums, "r_l");
        const Expr token = c * chunk + r_u * sums + l;
        const Expr last = unsafe_promise_clamped(min(likely(token), n - 1), 0, n - 1);
        const Expr channel = unsafe_promise_clamped(select(holds_vector, i, min(i, d - 1)), 0, d - 1);
        const Expr x_i = select(likely(token) < n, first ? x(last, i) : x(channel, last), 0.0f);
        if (first) {
            part(l, i, c) += x_i * x_i;
            of_chunk(i, c) += part(r_l, i, c);
        } else {
            part(i, l, c) += x_i * x_i;
            of_chunk(i, c) += part(i, r_l, c);
        }
        sum(i) += of_chunk(i, r_c);
        out(i) = sum(i);
        output = out;
    }

    void schedule() {
        const bool first = layout == Layout::channels_first;
        x.dim(0).set_min(0);
        x.dim(1).set_min(0);
        out.output_buffer().dim(0).set_bounds(0, x.dim(first ? 1 : 0).extent());
        schedule_channel_squares_cpu(*this, params, first);
    }

private:
    schedule::ChannelSquares params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelSquares, channel_attention_squares)
