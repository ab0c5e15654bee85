// Channel attention, its halves, and its gradients.
#include <nanobind/stl/string.h>

#include <algorithm>
#include <utility>

#include "arrays.h"
#include "call.h"
#include "gradients.h"
#include "interpreter.h"
#include "operators.h"
#include "options.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace muattn::python {
namespace {

bool channels_first(const ChannelSettings &settings) { return std::get<5>(settings) == MUATTN_CHANNELS_FIRST; }

Dimensions dimensions_of(const ChannelSettings &settings) {
    return channels_first(settings) ? kChannelsFirst : kTokens;
}

// The sums over tokens that a map is made of; squares are null without normalize.
struct Sums {
    Tensor map, q_squares, k_squares;
    bool normalize = false;

    const muattn_tensor *squares(const Tensor &of) const { return normalize ? &of.tensor : nullptr; }
};

Sums sums_of(nb::handle map_array, nb::handle q_squares_array, nb::handle k_squares_array) {
    Sums sums{input("map", map_array, kMap), {}, {}, !q_squares_array.is_none()};
    if (sums.normalize) {
        sums.q_squares = input("q_squares", q_squares_array, kChannels);
        sums.k_squares = input("k_squares", k_squares_array, kChannels);
    }
    return sums;
}

// Of so many, as where there are more the library refuses the call, whatever it would write to.
int64_t channels(const muattn_tensor &tokens, const ChannelSettings &settings) {
    return std::min<int64_t>(tokens.shape[channels_first(settings) ? 2 : 3], MUATTN_MAX_D);
}

// To write to, new where array is None: like a head's map, its squares, or a tensor.
Tensor map_output(const char *name, nb::object &array, const muattn_tensor &tokens, const ChannelSettings &settings) {
    const int64_t d = channels(tokens, settings);
    return output(name, array, {tokens.shape[0], tokens.shape[1], d, d}, MUATTN_FLOAT32, kMap);
}

Tensor squares_output(const char *name, nb::object &array, const muattn_tensor &tokens,
                      const ChannelSettings &settings) {
    return output(name, array, {tokens.shape[0], tokens.shape[1], channels(tokens, settings)}, MUATTN_FLOAT32,
                  kChannels);
}

Tensor output_like(const char *name, nb::object &array, const muattn_tensor &tensor, Dimensions dimensions) {
    const int64_t *shape = tensor.shape;
    return output(name, array, {shape[0], shape[1], shape[2], shape[3]}, tensor.dtype, dimensions);
}

nb::object attend(const Queue &queue, nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::object out_array,
                  const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions),
                 v = input("v", v_array, dimensions);
    const Tensor out = output_like("out", out_array, q.tensor, dimensions);
    const ChannelOptions call(settings, q.tensor.shape[1]);
    const InQueue in_queue(queue);
    check(without_gil(
        [&] { return muattn_channel_attention_forward(&q.tensor, &k.tensor, &v.tensor, &call.options, &out.tensor); }));
    return out_array;
}

// [B, H, 1, 4]
nb::object logit_stats(nb::handle q_array, nb::handle k_array, nb::object stats_array,
                       const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions);
    const ChannelOptions call(settings, q.tensor.shape[1]);
    const int64_t *shape = q.tensor.shape;
    const Tensor stats = output("stats", stats_array, {shape[0], shape[1], 1, 4}, MUATTN_FLOAT32, kStats);
    check(without_gil([&] { return muattn_channel_logit_stats(&q.tensor, &k.tensor, &call.options, &stats.tensor); }));
    return stats_array;
}

// (map, q_squares, k_squares)
nb::tuple map_of(const Tensor &q, const Tensor &k, const ChannelSettings &settings) {
    const ChannelOptions call(settings, q.tensor.shape[1]);
    const bool normalize = call.options.normalize;
    nb::object map_array = nb::none(), q_squares_array = nb::none(), k_squares_array = nb::none();
    Sums sums{map_output("map", map_array, q.tensor, settings), {}, {}, normalize};
    if (normalize) {
        sums.q_squares = squares_output("q_squares", q_squares_array, q.tensor, settings);
        sums.k_squares = squares_output("k_squares", k_squares_array, q.tensor, settings);
    }
    check(without_gil([&] {
        return muattn_channel_map(&q.tensor, &k.tensor, &call.options, &sums.map.tensor, sums.squares(sums.q_squares),
                                  sums.squares(sums.k_squares));
    }));
    return nb::make_tuple(map_array, q_squares_array, k_squares_array);
}

// out, or (out, attention_map)
nb::object apply_to(const Tensor &v, const Sums &sums, nb::object out_array, bool return_map,
                    const ChannelSettings &settings) {
    const Tensor out = output_like("out", out_array, v.tensor, dimensions_of(settings));
    const ChannelOptions call(settings, v.tensor.shape[1]);
    nb::object attention_map_array = nb::none();
    Tensor attention_map;
    if (return_map) {
        attention_map = map_output("attention_map", attention_map_array, v.tensor, settings);
    }
    check(without_gil([&] {
        return muattn_channel_apply(&sums.map.tensor, sums.squares(sums.q_squares), sums.squares(sums.k_squares),
                                    &v.tensor, &call.options, &out.tensor,
                                    return_map ? &attention_map.tensor : nullptr);
    }));
    return return_map ? nb::object(nb::make_tuple(out_array, attention_map_array)) : out_array;
}

nb::tuple map(nb::handle q_array, nb::handle k_array, const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions);
    return map_of(q, k, settings);
}

nb::object apply(nb::handle map_array, nb::handle q_squares_array, nb::handle k_squares_array, nb::handle v_array,
                 nb::object out_array, bool return_map, const ChannelSettings &settings) {
    const Sums sums = sums_of(map_array, q_squares_array, k_squares_array);
    const Tensor v = input("v", v_array, dimensions_of(settings));
    return apply_to(v, sums, std::move(out_array), return_map, settings);
}

// Through the two halves, as the whole does not give the map: (out, attention_map).
nb::object attend_and_map(nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::object out_array,
                          const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions),
                 v = input("v", v_array, dimensions);
    static constexpr const char *kNames[2][4] = {{"B", "H", "n", "d"}, {"B", "H", "d", "n"}};
    for (int dim = 0; dim < 4; dim++) {  // neither half sees both q and v
        const int64_t expected = q.tensor.shape[dim], given = v.tensor.shape[dim];
        if (given != expected) {
            raise(PyExc_ValueError, "v.shape[" + std::to_string(dim) + "] (" + kNames[channels_first(settings)][dim] +
                                        ") must equal q's: " + std::to_string(expected) + ", not " +
                                        std::to_string(given));
        }
    }
    const nb::tuple sums = map_of(q, k, settings);
    return apply_to(v, sums_of(sums[0], sums[1], sums[2]), std::move(out_array), true, settings);
}

nb::dict attend_backward(nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::handle d_out_array,
                         nb::handle attention_map_array, const Wanted &wanted, const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions),
                 v = input("v", v_array, dimensions), d_out = input("d_out", d_out_array, dimensions);
    const ChannelOptions call(settings, q.tensor.shape[1]);
    Tensor attention_map;
    if (!attention_map_array.is_none()) {
        attention_map = input("attention_map", attention_map_array, kMap);
    }
    Gradients gradients(wanted);
    const muattn_channel_gradients to{gradients.matrices("q", q.tensor), gradients.matrices("k", k.tensor),
                                      gradients.matrices("v", v.tensor), gradients.numbers("scale", q.tensor.shape[1]),
                                      gradients.numbers("output_multiplier", 1)};
    check(without_gil([&] {
        return muattn_channel_attention_backward(&q.tensor, &k.tensor, &v.tensor, &d_out.tensor,
                                                 attention_map_array.is_none() ? nullptr : &attention_map.tensor,
                                                 &call.options, &to);
    }));
    return gradients.arrays();
}

nb::dict apply_backward(nb::handle map_array, nb::handle q_squares_array, nb::handle k_squares_array,
                        nb::handle v_array, nb::handle d_out_array, const Wanted &wanted,
                        const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Sums sums = sums_of(map_array, q_squares_array, k_squares_array);
    const Tensor v = input("v", v_array, dimensions), d_out = input("d_out", d_out_array, dimensions);
    const ChannelOptions call(settings, v.tensor.shape[1]);
    nb::object d_attention_map_array = nb::none();
    Tensor d_attention_map;
    Gradients gradients(wanted);
    const bool wants_map = gradients.wants("attention_map");
    if (wants_map) {
        d_attention_map = map_output("d_attention_map", d_attention_map_array, v.tensor, settings);
    }
    const muattn_tensor *d_v = gradients.matrices("v", v.tensor);
    check(without_gil([&] {
        return muattn_channel_apply_backward(&sums.map.tensor, sums.squares(sums.q_squares),
                                             sums.squares(sums.k_squares), &v.tensor, &d_out.tensor, &call.options,
                                             wants_map ? &d_attention_map.tensor : nullptr, d_v);
    }));
    nb::dict arrays = gradients.arrays();
    if (wants_map) {
        arrays["attention_map"] = d_attention_map_array;
    }
    return arrays;
}

nb::dict map_backward(nb::handle q_array, nb::handle k_array, nb::handle map_array, nb::handle q_squares_array,
                      nb::handle k_squares_array, nb::handle d_attention_map_array, const Wanted &wanted,
                      const ChannelSettings &settings) {
    const Dimensions dimensions = dimensions_of(settings);
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions);
    const Sums sums = sums_of(map_array, q_squares_array, k_squares_array);
    const Tensor d_attention_map = input("d_attention_map", d_attention_map_array, kMap);
    const ChannelOptions call(settings, q.tensor.shape[1]);
    Gradients gradients(wanted);
    const muattn_channel_gradients to{gradients.matrices("q", q.tensor), gradients.matrices("k", k.tensor), nullptr,
                                      gradients.numbers("scale", q.tensor.shape[1]),
                                      gradients.numbers("output_multiplier", 1)};
    check(without_gil([&] {
        return muattn_channel_map_backward(&q.tensor, &k.tensor, &sums.map.tensor, sums.squares(sums.q_squares),
                                           sums.squares(sums.k_squares), &d_attention_map.tensor, &call.options, &to);
    }));
    return gradients.arrays();
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
    // None is let in as an array that is needed so that the message is ours.
    m.def("channel_attention", &attend, "queue"_a.none(), "q"_a.none(), "k"_a.none(), "v"_a.none(), "out"_a.none(),
          "settings"_a);
    m.def("channel_attention_and_map", &attend_and_map, "q"_a.none(), "k"_a.none(), "v"_a.none(), "out"_a.none(),
          "settings"_a);
    m.def("channel_logit_stats", &logit_stats, "q"_a.none(), "k"_a.none(), "stats"_a.none(), "settings"_a);
    m.def("channel_map", &map, "q"_a.none(), "k"_a.none(), "settings"_a);
    m.def("channel_apply", &apply, "map"_a.none(), "q_squares"_a.none(), "k_squares"_a.none(), "v"_a.none(),
          "out"_a.none(), "return_map"_a, "settings"_a);
    m.def("channel_attention_backward", &attend_backward, "q"_a.none(), "k"_a.none(), "v"_a.none(), "d_out"_a.none(),
          "attention_map"_a.none(), "wanted"_a, "settings"_a);
    m.def("channel_apply_backward", &apply_backward, "map"_a.none(), "q_squares"_a.none(), "k_squares"_a.none(),
          "v"_a.none(), "d_out"_a.none(), "wanted"_a, "settings"_a);
    m.def("channel_map_backward", &map_backward, "q"_a.none(), "k"_a.none(), "map"_a.none(), "q_squares"_a.none(),
          "k_squares"_a.none(), "d_attention_map"_a.none(), "wanted"_a, "settings"_a);
    m.def("channel_scale", &scale, "scaling"_a, "n"_a);
    m.def("channel_output_multiplier", &output_multiplier, "scaling"_a, "d"_a, "d_base"_a);
}

}  // namespace muattn::python
