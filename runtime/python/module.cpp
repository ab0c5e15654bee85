// muattn._muattn: the C interface for Python. It turns arrays into muattn_tensor and statuses into exceptions, and lets
// other Python threads run during a call. What arguments mean stands in muattn/_attention.py and its neighbours, the rules in
// muattn.h.
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
#include "call.h"
#include "interpreter.h"
#include "muattn/muattn.h"
#include "operators.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace muattn::python {
namespace {

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
    scalings["umup"] = int(MUATTN_SCALING_UMUP);
    causals["none"] = int(MUATTN_CAUSAL_NONE);
    causals["top_left"] = int(MUATTN_CAUSAL_TOP_LEFT);
    causals["bottom_right"] = int(MUATTN_CAUSAL_BOTTOM_RIGHT);
    causals["offset"] = int(MUATTN_CAUSAL_OFFSET);
    nb::dict layouts;
    layouts["channels_last"] = int(MUATTN_CHANNELS_LAST);
    layouts["channels_first"] = int(MUATTN_CHANNELS_FIRST);
    nb::dict dtypes;
    dtypes["float32"] = int(MUATTN_FLOAT32);
    dtypes["bool"] = int(MUATTN_BOOL);
    dtypes["float16"] = int(MUATTN_FLOAT16);
    dtypes["bfloat16"] = int(MUATTN_BFLOAT16);
    dtypes["int8"] = int(MUATTN_INT8);
    m.attr("dtypes") = dtypes;
    m.attr("layouts") = layouts;
    m.attr("scalings") = scalings;
    m.attr("causals") = causals;

    m.def("as_bfloat16", &as_bfloat16, "bits"_a);
    add_spatial(m);
    add_channel(m);
    add_distributed(m);

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
    m.def(
        "use_openmp",
        [](std::optional<std::string> library) { check(muattn_use_openmp(library ? library->c_str() : nullptr)); },
        "library"_a.none());
    m.def("use_own_threads", [] { muattn_set_parallel_for(nullptr, nullptr); });
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
