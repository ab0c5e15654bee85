// Spatial attention, its gradients, and the merge of its results.
#include <nanobind/stl/string.h>

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

// The scales of int8's rows, which options point to.
struct RowScales {
    Tensor k, v;

    void give(muattn_spatial_options &options, nb::handle k_array, nb::handle v_array) {
        give(options.k_scale, k, "k_scale", k_array);
        give(options.v_scale, v, "v_scale", v_array);
    }

private:
    static void give(const muattn_tensor *&option, Tensor &kept, const char *name, nb::handle array) {
        if (!array.is_none()) {
            kept = input(name, array, kRowScales);
            option = &kept.tensor;
        }
    }
};

nb::object attend(const Queue &queue, nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::handle mask_array,
                  nb::object out_array, nb::object lse_array, nb::handle k_scale_array, nb::handle v_scale_array,
                  bool return_lse, const SpatialSettings &settings) {
    const Tensor q = input("q", q_array), k = input("k", k_array, kCache), v = input("v", v_array, kCache);
    const int64_t *shape = q.tensor.shape;
    SpatialOptions call(settings, shape[0], shape[1]);
    const Tensor out = output("out", out_array, {shape[0], shape[1], shape[2], v.tensor.shape[3]}, q.tensor.dtype);
    Tensor lse, mask_tensor;
    if (return_lse) {
        lse = output("lse", lse_array, {shape[0], shape[1], shape[2]}, MUATTN_FLOAT32, kRows);
    }
    if (!mask_array.is_none()) {
        mask_tensor = mask("mask", mask_array);
        call.options.mask = &mask_tensor.tensor;
    }
    RowScales scales;
    scales.give(call.options, k_scale_array, v_scale_array);
    const InQueue in_queue(queue);
    check(without_gil([&] {
        return muattn_spatial_attention_forward(&q.tensor, &k.tensor, &v.tensor, &call.options, &out.tensor,
                                                return_lse ? &lse.tensor : nullptr);
    }));
    return return_lse ? nb::object(nb::make_tuple(out_array, lse_array)) : out_array;
}

// [B, H, 1, 4]
nb::object logit_stats(nb::handle q_array, nb::handle k_array, nb::handle mask_array, nb::object stats_array,
                       const SpatialSettings &settings) {
    const Tensor q = input("q", q_array), k = input("k", k_array, kCache);
    SpatialOptions call(settings, q.tensor.shape[0], q.tensor.shape[1]);
    Tensor mask_tensor;
    if (!mask_array.is_none()) {
        mask_tensor = mask("mask", mask_array);
        call.options.mask = &mask_tensor.tensor;
    }
    const int64_t *shape = q.tensor.shape;
    const Tensor stats = output("stats", stats_array, {shape[0], shape[1], 1, 4}, MUATTN_FLOAT32, kStats);
    check(without_gil([&] { return muattn_spatial_logit_stats(&q.tensor, &k.tensor, &call.options, &stats.tensor); }));
    return stats_array;
}

nb::dict attend_backward(nb::handle q_array, nb::handle k_array, nb::handle v_array, nb::handle out_array,
                         nb::handle lse_array, nb::handle d_out_array, nb::handle d_lse_array, nb::handle mask_array,
                         const Wanted &wanted, const SpatialSettings &settings) {
    const Tensor q = input("q", q_array), k = input("k", k_array, kCache), v = input("v", v_array, kCache),
                 out = input("out", out_array), lse = input("lse", lse_array, kRows),
                 d_out = input("d_out", d_out_array);
    const int64_t heads = q.tensor.shape[1];
    SpatialOptions call(settings, q.tensor.shape[0], heads);
    Tensor d_lse, mask_tensor;
    if (!d_lse_array.is_none()) {
        d_lse = input("d_lse", d_lse_array, kRows);
    }
    Gradients gradients(wanted);
    if (!mask_array.is_none()) {
        mask_tensor = gradients.wants("mask") ? mask_in_full("mask", mask_array) : mask("mask", mask_array);
        call.options.mask = &mask_tensor.tensor;
    }
    if (gradients.wants("mask") && (mask_array.is_none() || mask_tensor.tensor.dtype == MUATTN_BOOL)) {
        raise(PyExc_ValueError, "wanted has 'mask', and the call has no additive mask");
    }
    if (gradients.wants("sink") && call.options.sink == nullptr) {
        raise(PyExc_ValueError, "wanted has 'sink', and the call has no sink");
    }
    const muattn_spatial_gradients to{gradients.matrices("q", q.tensor),
                                      gradients.matrices("k", k.tensor),
                                      gradients.matrices("v", v.tensor),
                                      gradients.numbers("scale", heads),
                                      gradients.matrices("mask", mask_tensor.tensor),
                                      gradients.numbers("sink", heads),
                                      gradients.numbers("output_multiplier", 1)};
    check(without_gil([&] {
        return muattn_spatial_attention_backward(&q.tensor, &k.tensor, &v.tensor, &out.tensor, &lse.tensor,
                                                 &d_out.tensor, d_lse_array.is_none() ? nullptr : &d_lse.tensor,
                                                 &call.options, &to);
    }));
    return gradients.arrays();
}

nb::object merge(const Queue &queue, nb::handle out_a_array, nb::handle lse_a_array, nb::handle out_b_array,
                 nb::handle lse_b_array, nb::object out_array, nb::object lse_array) {
    const Tensor out_a = input("out_a", out_a_array), out_b = input("out_b", out_b_array);
    const Tensor lse_a = input("lse_a", lse_a_array, kRows), lse_b = input("lse_b", lse_b_array, kRows);
    const int64_t *shape = out_a.tensor.shape;
    const Tensor out = output("out", out_array, {shape[0], shape[1], shape[2], shape[3]}, out_a.tensor.dtype),
                 lse = output("lse", lse_array, {shape[0], shape[1], shape[2]}, MUATTN_FLOAT32, kRows);
    const InQueue in_queue(queue);
    check(without_gil([&] {
        return muattn_merge(&out_a.tensor, &lse_a.tensor, &out_b.tensor, &lse_b.tensor, &out.tensor, &lse.tensor);
    }));
    return nb::make_tuple(out_array, lse_array);
}

// (s, o)
nb::tuple rule(int64_t d, int64_t n_k, const SpatialSettings &settings) {
    const SpatialOptions call(settings, 0, 0);
    double scale = 0, output_multiplier = 0;
    check(muattn_spatial_rule(&call.options, d, n_k, &scale, &output_multiplier));
    return nb::make_tuple(scale, output_multiplier);
}

}  // namespace

void add_spatial(nb::module_ m) {
    // None is let in as an array that is needed so that the message is ours.
    m.def("spatial_attention", &attend, "queue"_a.none(), "q"_a.none(), "k"_a.none(), "v"_a.none(), "mask"_a.none(),
          "out"_a.none(), "lse"_a.none(), "k_scale"_a.none(), "v_scale"_a.none(), "return_lse"_a, "settings"_a);
    m.def("spatial_attention_backward", &attend_backward, "q"_a.none(), "k"_a.none(), "v"_a.none(), "out"_a.none(),
          "lse"_a.none(), "d_out"_a.none(), "d_lse"_a.none(), "mask"_a.none(), "wanted"_a, "settings"_a);
    m.def("spatial_logit_stats", &logit_stats, "q"_a.none(), "k"_a.none(), "mask"_a.none(), "stats"_a.none(),
          "settings"_a);
    m.def("merge", &merge, "queue"_a.none(), "out_a"_a.none(), "lse_a"_a.none(), "out_b"_a.none(), "lse_b"_a.none(),
          "out"_a.none(), "lse"_a.none());
    m.def("spatial_rule", &rule, "d"_a, "n_k"_a, "settings"_a);
}

}  // namespace muattn::python
