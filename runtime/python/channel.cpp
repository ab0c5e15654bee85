// Channel attention.
#include "arrays.h"
#include "call.h"
#include "interpreter.h"
#include "operators.h"
#include "options.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace muattn::python {
namespace {

Dimensions dimensions_of(const ChannelSettings &settings) {
    return std::get<5>(settings) == MUATTN_CHANNELS_FIRST ? kChannelsFirst : kTokens;
}

nb::object attend(const Queue &queue, nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::object out_array,
                  const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions),
                 v = input("v", v_array, dimensions);
    const int64_t *shape = q.tensor.shape;
    if (out_array.is_none()) {
        out_array = new_array({shape[0], shape[1], shape[2], shape[3]});
    }
    const Tensor out = output("out", out_array, dimensions);
    const ChannelOptions call(settings, shape[1]);
    const InQueue in_queue(queue);
    check(without_gil(
        [&] { return muattn_channel_attention_forward(&q.tensor, &k.tensor, &v.tensor, &call.options, &out.tensor); }));
    return out_array;
}

double scale(int scaling, int64_t n) {
    double s = 0;
    check(muattn_channel_scale(muattn_scaling(scaling), n, &s));
    return s;
}

double output_multiplier(int scaling, int64_t d, int64_t d_base) {
    double multiplier = 0;
    check(muattn_channel_output_multiplier(muattn_scaling(scaling), d, d_base, &multiplier));
    return multiplier;
}

}  // namespace

void add_channel(nb::module_ m) {
    m.def("channel_attention", &attend, "queue"_a.none(), "q"_a.none(), "k"_a.none(), "v"_a.none(), "out"_a.none(),
          "settings"_a);
    m.def("channel_scale", &scale, "scaling"_a, "n"_a);
    m.def("channel_output_multiplier", &output_multiplier, "scaling"_a, "d"_a, "d_base"_a);
}

}  // namespace muattn::python
