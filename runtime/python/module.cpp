// muattn._muattn: the C interface for Python. It turns arrays into muattn_tensor and statuses into exceptions, and lets
// other Python threads run during a call. What arguments mean stands in muattn/_attention.py, the rules in muattn.h.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "arrays.h"
#include "interpreter.h"
#include "muattn/muattn.h"
#include "system/floating_point.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace muattn::python {
namespace {

void check(muattn_status status) {
    PyObject *type = PyExc_ValueError;
    switch (status) {
    case MUATTN_OK: return;
    case MUATTN_UNSUPPORTED: type = PyExc_NotImplementedError; break;
    case MUATTN_OUT_OF_MEMORY: type = PyExc_MemoryError; break;
    case MUATTN_INTERNAL_ERROR: type = PyExc_RuntimeError; break;
    default: break;
    }
    raise(type, muattn_last_error());
}

// CUcontext and CUstream, of arrays in CUDA memory.
using Queue = std::optional<std::pair<uintptr_t, uintptr_t>>;

// Lets this thread's CUDA calls go to the queue, and afterwards to the library's choice again.
class InQueue {
public:
    explicit InQueue(const Queue &queue) : given_(queue.has_value()) {
        if (given_) {
            const muattn_queue handles{reinterpret_cast<void *>(queue->first), reinterpret_cast<void *>(queue->second),
                                       nullptr, nullptr, 0};
            check(muattn_set_queue(MUATTN_CUDA, &handles));
        }
    }
    InQueue(const InQueue &) = delete;
    InQueue &operator=(const InQueue &) = delete;
    ~InQueue() {
        if (given_) {
            muattn_set_queue(MUATTN_CUDA, nullptr);
        }
    }

private:
    bool given_;
};

using Numbers = std::vector<double>;
using Integers = std::vector<int64_t>;
using Window = std::pair<int64_t, int64_t>;

// Rounded to nearest, whatever mode the calling thread is in.
[[gnu::noinline]] std::vector<float> to_floats(const Numbers &numbers) {
    const DefaultFloatingPoint mode;
    std::vector<float> floats;
    for (const double &x : numbers) {
        floats.push_back(float(x));
    }
    return floats;
}

void check_scale_count(const std::optional<Numbers> &scale, int64_t heads) {
    if (scale && scale->size() != 1 && int64_t(scale->size()) != heads) {
        raise(PyExc_ValueError, "the numbers in scale must be 1 or the number of heads (" + std::to_string(heads) +
                                    "), not " + std::to_string(scale->size()));
    }
}

// of: what there is one number for, e.g. "batch entry".
template<typename T>
void check_count(const char *name, const std::optional<T> &numbers, const char *of, int64_t count) {
    if (numbers && int64_t(numbers->size()) != count) {
        raise(PyExc_ValueError, std::string(name) + " must have one entry per " + of + ": " + std::to_string(count) +
                                    ", not " + std::to_string(numbers->size()));
    }
}

nb::object spatial_attention(const Queue &queue, nb::handle q_array, nb::handle k_array, nb::handle v_array,
                             nb::object out_array, nb::object lse_array, bool return_lse, int scaling, int64_t d_base,
                             const std::optional<Numbers> &scale, int causal, int64_t causal_offset,
                             const std::optional<Integers> &causal_offsets, std::optional<Window> window,
                             const std::optional<Integers> &key_lengths, nb::handle mask_array, double softcap,
                             const std::optional<Numbers> &sink) {
    const Tensor q = input("q", q_array), k = input("k", k_array), v = input("v", v_array);
    const int64_t *shape = q.tensor.shape;
    check_scale_count(scale, shape[1]);
    check_count("key_lengths", key_lengths, "batch entry", shape[0]);
    check_count("causal", causal_offsets, "batch entry", shape[0]);
    check_count("sink", sink, "head", shape[1]);
    if (out_array.is_none()) {
        out_array = new_array({shape[0], shape[1], shape[2], v.tensor.shape[3]});
    }
    const Tensor out = output("out", out_array);
    Tensor lse;
    if (return_lse) {
        if (lse_array.is_none()) {
            lse_array = new_array({shape[0], shape[1], shape[2]});
        }
        lse = output("lse", lse_array, kRows);
    }

    muattn_spatial_options options{};
    options.scaling = muattn_scaling(scaling);
    options.d_base = d_base;
    const std::vector<float> scales = scale ? to_floats(*scale) : std::vector<float>();
    options.scale = scale ? scales.data() : nullptr;
    options.scale_count = int64_t(scales.size());
    options.causal = muattn_causal(causal);
    options.causal_offset = causal_offset;
    options.causal_offsets = causal_offsets ? causal_offsets->data() : nullptr;
    options.window.enabled = window.has_value();
    if (window) {
        options.window.left = window->first;
        options.window.right = window->second;
    }
    options.key_lengths = key_lengths ? key_lengths->data() : nullptr;
    Tensor mask_tensor;
    if (!mask_array.is_none()) {
        mask_tensor = mask("mask", mask_array);
        options.mask = &mask_tensor.tensor;
    }
    options.softcap = to_floats({softcap})[0];
    const std::vector<float> sinks = sink ? to_floats(*sink) : std::vector<float>();
    options.sink = sink ? sinks.data() : nullptr;
    const InQueue in_queue(queue);
    check(without_gil([&] {
        return muattn_spatial_attention_forward(&q.tensor, &k.tensor, &v.tensor, &options, &out.tensor,
                                                return_lse ? &lse.tensor : nullptr);
    }));
    return return_lse ? nb::object(nb::make_tuple(out_array, lse_array)) : out_array;
}

nb::object merge(const Queue &queue, nb::handle out_a_array, nb::handle lse_a_array, nb::handle out_b_array,
                 nb::handle lse_b_array, nb::object out_array, nb::object lse_array) {
    const Tensor out_a = input("out_a", out_a_array), out_b = input("out_b", out_b_array);
    const Tensor lse_a = input("lse_a", lse_a_array, kRows), lse_b = input("lse_b", lse_b_array, kRows);
    const int64_t *shape = out_a.tensor.shape;
    if (out_array.is_none()) {
        out_array = new_array({shape[0], shape[1], shape[2], shape[3]});
        lse_array = new_array({shape[0], shape[1], shape[2]});
    }
    const Tensor out = output("out", out_array), lse = output("lse", lse_array, kRows);
    const InQueue in_queue(queue);
    check(without_gil([&] {
        return muattn_merge(&out_a.tensor, &lse_a.tensor, &out_b.tensor, &lse_b.tensor, &out.tensor, &lse.tensor);
    }));
    return nb::make_tuple(out_array, lse_array);
}

nb::object channel_attention(const Queue &queue, nb::handle q_array, nb::handle k_array, nb::handle v_array,
                             nb::object out_array, int scaling, int64_t d_base, const std::optional<Numbers> &scale,
                             const std::optional<double> &output_multiplier, bool normalize, int layout) {
    const Dimensions dimensions = layout == MUATTN_CHANNELS_FIRST ? kChannelsFirst : kTokens;
    const Tensor q = input("q", q_array, dimensions), k = input("k", k_array, dimensions),
                 v = input("v", v_array, dimensions);
    if (out_array.is_none()) {
        const int64_t *shape = q.tensor.shape;
        out_array = new_array({shape[0], shape[1], shape[2], shape[3]});
    }
    const Tensor out = output("out", out_array, dimensions);
    check_scale_count(scale, q.tensor.shape[1]);

    muattn_channel_options options{};
    options.scaling = muattn_scaling(scaling);
    options.d_base = d_base;
    const std::vector<float> scales = scale ? to_floats(*scale) : std::vector<float>();
    options.scale = scale ? scales.data() : nullptr;
    options.scale_count = int64_t(scales.size());
    const float multiplier = output_multiplier ? to_floats({*output_multiplier})[0] : 1.0f;
    options.output_multiplier = output_multiplier ? &multiplier : nullptr;
    options.normalize = normalize;
    options.layout = muattn_layout(layout);
    const InQueue in_queue(queue);
    check(without_gil(
        [&] { return muattn_channel_attention_forward(&q.tensor, &k.tensor, &v.tensor, &options, &out.tensor); }));
    return out_array;
}

double spatial_scale(int scaling, int64_t d, int64_t d_base) {
    double scale = 0;
    check(muattn_spatial_scale(muattn_scaling(scaling), d, d_base, &scale));
    return scale;
}

double channel_scale(int scaling, int64_t n) {
    double scale = 0;
    check(muattn_channel_scale(muattn_scaling(scaling), n, &scale));
    return scale;
}

double channel_output_multiplier(int scaling, int64_t d, int64_t d_base) {
    double multiplier = 0;
    check(muattn_channel_output_multiplier(muattn_scaling(scaling), d, d_base, &multiplier));
    return multiplier;
}

std::vector<std::pair<std::string, bool>> backends() {
    std::vector<std::pair<std::string, bool>> all;
    for (int i = 0; i < muattn_backend_count(); i++) {
        all.emplace_back(muattn_backend_name(i), muattn_backend_available(i) != 0);
    }
    return all;
}

std::vector<std::string> kernels() {
    std::vector<std::string> all;
    for (int i = 0; i < muattn_kernel_count(); i++) {
        all.emplace_back(muattn_kernel_name(i));
    }
    return all;
}

void fill(nb::module_ m) {
    nb::dict scalings, causals;
    scalings["sp"] = int(MUATTN_SCALING_SP);
    scalings["mup"] = int(MUATTN_SCALING_MUP);
    scalings["mup_heads"] = int(MUATTN_SCALING_MUP_HEADS);
    scalings["mup_mean"] = int(MUATTN_SCALING_MUP_MEAN);
    causals["none"] = int(MUATTN_CAUSAL_NONE);
    causals["top_left"] = int(MUATTN_CAUSAL_TOP_LEFT);
    causals["bottom_right"] = int(MUATTN_CAUSAL_BOTTOM_RIGHT);
    causals["offset"] = int(MUATTN_CAUSAL_OFFSET);
    nb::dict layouts;
    layouts["channels_last"] = int(MUATTN_CHANNELS_LAST);
    layouts["channels_first"] = int(MUATTN_CHANNELS_FIRST);
    m.attr("layouts") = layouts;
    m.attr("scalings") = scalings;
    m.attr("causals") = causals;

    // None is let in as q, k and v so that the message is ours. Options go by name, for which the
    // smallest call takes 1 % longer; unpacking its arrays (*arrays) beside the names would make that 5 %.
    m.def("spatial_attention", &spatial_attention, "queue"_a.none(), "q"_a.none(), "k"_a.none(), "v"_a.none(),
          "out"_a.none(), "lse"_a.none(), nb::kw_only(), "return_lse"_a, "scaling"_a, "d_base"_a, "scale"_a.none(),
          "causal"_a, "causal_offset"_a, "causal_offsets"_a.none(), "window"_a.none(), "key_lengths"_a.none(),
          "mask"_a.none(), "softcap"_a, "sink"_a.none());
    m.def("merge", &merge, "queue"_a.none(), "out_a"_a.none(), "lse_a"_a.none(), "out_b"_a.none(), "lse_b"_a.none(),
          "out"_a.none(), "lse"_a.none());
    m.def("channel_attention", &channel_attention, "queue"_a.none(), "q"_a.none(), "k"_a.none(), "v"_a.none(),
          "out"_a.none(), nb::kw_only(), "scaling"_a, "d_base"_a, "scale"_a.none(), "output_multiplier"_a.none(),
          "normalize"_a, "layout"_a);
    m.def("spatial_scale", &spatial_scale, "scaling"_a, "d"_a, "d_base"_a);
    m.def("channel_scale", &channel_scale, "scaling"_a, "n"_a);
    m.def("channel_output_multiplier", &channel_output_multiplier, "scaling"_a, "d"_a, "d_base"_a);

    m.def("backends", &backends,
          "The backends of this build, best first: a list of (name, whether this machine can run it).");
    m.def(
        "force_backend",
        [](std::optional<std::string> name) { check(muattn_force_backend(name ? name->c_str() : nullptr)); },
        "name"_a.none());
    m.def(
        "current_backend", [] { return std::string(muattn_current_backend()); },
        "The backend that the next call uses.");
    m.def("last_kernel", &muattn_last_kernel,
          "The kernel that this thread's last successful call ran; '' if it had nothing to do, or there was none.");
    m.def("kernels", &kernels,
          "The kernels of this build: a list of 'operation/direction/dtype/algorithm(+feature)*/backend'.");
    m.def(
        "set_num_threads", [](int n) { check(muattn_set_num_threads(n)); }, "n"_a);
    m.def("get_num_threads", &muattn_get_num_threads, "Threads that a call may use, its own included.");
    m.def("version", [] { return std::string(muattn_version()); });
}

}  // namespace
}  // namespace muattn::python

// What NB_MODULE would write, but for the first line: nanobind's state of the module is that of the interpreter that loaded it
// last, and goes with it, so that no second one may. Python 3.13 calls PyInit__muattn in the main interpreter for all, and
// this function in the one that imports.
static int load(PyObject *m) {
    if (!muattn::python::is_only_interpreter()) {
        PyErr_SetString(PyExc_ImportError,
                        "muattn is loaded in another interpreter of this process, and works in one alone");
        return -1;
    }
    if (!nb::register_module(m)) {
        return -1;
    }
    try {
        muattn::python::fill(nb::borrow<nb::module_>(m));
        return 0;
    } catch (nb::python_error &error) {
        error.restore();
    } catch (const std::exception &error) {
        PyErr_SetString(PyExc_ImportError, error.what());
    }
    return -1;
}

extern "C" NB_EXPORT PyObject *PyInit__muattn() {
    static PyModuleDef_Slot slots[] = {{Py_mod_exec, reinterpret_cast<void *>(&load)}, {0, nullptr}};
    static PyModuleDef module = {PyModuleDef_HEAD_INIT,
                                 "_muattn",
                                 "The C interface of muattn; use the functions of the package muattn.",
                                 0,
                                 nullptr,
                                 slots,
                                 nullptr,
                                 nullptr,
                                 nullptr};
    return PyModuleDef_Init(&module);
}
