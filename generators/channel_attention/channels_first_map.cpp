// A map of products between the channels of two channels-first arrays, sums over tokens: map[i, j] = sum_t x[i, t] y[j, t], of one
// head; see channels_last_map.cpp. Tokens lie in the vector lanes: the map is a matrix of dot products, one partial sum per lane.
#include "channels_first_map.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/channels_first_map_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelsFirstMap : public KernelGenerator<ChannelsFirstMap>, ChannelsFirstMapStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelsFirstMap> numbers;

    Input<Buffer<float, 2>> x{"x"}, y{"y"};  // (token, channel)
    Input<int32_t> columns{"columns"};       // of the map: the channels of x or more; what is past these means nothing
    Output<Buffer<float, 2>> output{"map"};  // (channel of x, channel of y)

    void generate() {
        params = overridden(schedule::ChannelsFirstMap::defaults(schedule::machine(machine)), numbers.values());
        const int lanes = params.lanes;
        _halide_user_assert(params.chunk_tokens % lanes == 0) << "chunk_tokens must be a multiple of the lanes";
        const Expr n = x.dim(0).extent(), d_x = x.dim(1).extent(), d_y = y.dim(1).extent(), chunk = params.chunk(n);
        const Expr chunks = (n + chunk - 1) / chunk;
        r_v = RDom(0, chunk / lanes, "r_v");
        r_c = RDom(0, chunks, "r_c");
        r_l = RDom(0, lanes, "r_l");

        const Expr at = c * chunk + u, inside = likely(at) < n;
        X(u, i, c) = select(inside, x(min(likely(at), n - 1), min(i, d_x - 1)), 0.0f);
        Y(u, j, c) = select(inside, y(min(likely(at), n - 1), min(j, d_y - 1)), 0.0f);
        // Each row of y is read once in a chunk, from where it is, but in a last chunk that has tokens that are not there.
        const Expr in_chunk = r_v * lanes + l, token_c = unsafe_promise_clamped(c * chunk + in_chunk, 0, n - 1);
        copied = sums("copied", X(in_chunk, i, c), Y(in_chunk, j, c));
        in_place = sums("in_place", X(in_chunk, i, c), y(token_c, min(j, d_y - 1)));
        // A chunk's lanes are added up while they are in registers, then the chunks.
        S(i, j) = 0.0f;
        const Expr is_whole = (r_c + 1) * chunk <= n;
        S(i, j) += select(is_whole, in_place.chunk(i, j, r_c), copied.chunk(i, j, r_c));
        holds_vector = columns >= lanes;
        out(i, j) = S(i, j);
        output = out;
    }

    void schedule() {
        for (auto *input : {&x, &y}) {
            input->dim(0).set_bounds(0, x.dim(0).extent());
            input->dim(1).set_min(0);
        }
        OutputImageParam map = out.output_buffer();
        map.dim(0).set_bounds(0, columns);
        map.dim(1).set_bounds(0, y.dim(1).extent());
        schedule_channels_first_map_cpu(*this, params);
    }

private:
    ChunkSums sums(const std::string &name, const Expr &x_i, const Expr &y_j) const {
        ChunkSums sums{Func(name), Func(name + "_chunk")};
        sums.products(l, i, j, c) += x_i * y_j;
        sums.chunk(i, j, c) += sums.products(r_l, i, j, c);
        return sums;
    }

    schedule::ChannelsFirstMap params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelsFirstMap, channel_attention_channels_first_map)
