#include "arrays.h"

#include <nanobind/stl/string.h>

#include <algorithm>
#include <vector>

namespace nb = nanobind;

namespace muattn::python {
namespace {

// What a caller whose array lacks one or two dimensions can write: each is right for one meaning of those that are there.
std::string missing_dimensions(const std::string &name, size_t given, Dimensions dimensions) {
    switch (dimensions.count - int(given)) {
    case 1: return ": " + name + "[None] where the batch is missing, " + name + "[:, None] where the heads are";
    case 2:
        return dimensions.is_mask ? ": " + name + "[None, None] is that of [n_q, n_k], " + name +
                                        "[:, None, None] that of [batch, n_k]"
                                  : ": " + name + "[None, None] where batch and heads are missing";
    default: return "";
    }
}

// Why an array of numbers is no mask, or no matrix, in words that lead to the right one.
std::string other_dtype(nb::dlpack::dtype dtype, bool is_mask) {
    using Code = nb::dlpack::dtype_code;
    const Code code = Code(dtype.code);
    if (is_mask && (code == Code::Int || code == Code::UInt)) {
        return ": for a mask of 0 and 1 give mask != 0, which is bool";
    }
    const bool is_real = code == Code::Int || code == Code::UInt || code == Code::Float || code == Code::Bfloat;
    return is_real ? ": convert it to float32" : "";
}

// DLPack's name of an element type, e.g. "float64".
std::string dtype_name(nb::dlpack::dtype dtype) {
    using Code = nb::dlpack::dtype_code;
    std::string name = "type code " + std::to_string(dtype.code) + " of bits ";
    switch (Code(dtype.code)) {
    case Code::Int: name = "int"; break;
    case Code::UInt: name = "uint"; break;
    case Code::Float: name = "float"; break;
    case Code::Bfloat: name = "bfloat"; break;
    case Code::Complex: name = "complex"; break;
    case Code::Bool: return "bool";
    default: break;
    }
    return name + std::to_string(dtype.bits);
}

// What kept the object from being read as an array, where its __dlpack__ says so; else what was expected.
[[noreturn]] void raise_no_array(const std::string &name, nb::handle object, const char *kind) {
    if (PyCapsule_CheckExact(object.ptr())) {
        raise(PyExc_TypeError, name + " must be " + kind + ": this one is read-only, or its DLPack capsule is used up");
    }
    const std::string type = nb::cast<std::string>(nb::str(nb::handle(object.type()).attr("__qualname__")));
    if (nb::hasattr(object, "__dlpack__")) {
        try {
            object.attr("__dlpack__")();
        } catch (nb::python_error &cause) {
            const std::string reason = nb::cast<std::string>(nb::str(cause.value()));
            nb::raise_from(cause, PyExc_TypeError, "%s must be %s; %s.__dlpack__: %s", name.c_str(), kind, type.c_str(),
                           reason.c_str());
        }
    }
    raise(PyExc_TypeError, name + " must be " + kind + ", not " + type);
}

void check_rank(const std::string &name, size_t rank, Dimensions dimensions) {
    if (int(rank) != dimensions.count) {
        raise(PyExc_ValueError, name + " must have " + std::to_string(dimensions.count) + " dimensions " +
                                    dimensions.names + ", not " + std::to_string(rank) +
                                    missing_dimensions(name, rank, dimensions));
    }
}

// All strides 0 mean 'dense' to the library, but in Python one element, repeated: where only one element is innermost that is fine;
// else another stride that is not 0 makes the library see strides[3], and refuse it.
void tell_dense_from_repeated(muattn_tensor &t, bool has_elements) {
    if (!has_elements) {  // NumPy gives strides of 0 then; without elements any will do
        std::fill(t.strides, t.strides + 4, 0);
    } else if (t.shape[3] == 1) {
        t.strides[3] = 1;
    } else if (t.strides[3] == 0) {
        t.strides[0] = 1;
    }
}

bool is_tuple(nb::handle array) { return PyTuple_CheckExact(array.ptr()); }

int64_t integer_at(PyObject *tuple, Py_ssize_t index) {
    const int64_t value = PyLong_AsLongLong(PyTuple_GetItem(tuple, index));
    if (value == -1 && PyErr_Occurred() != nullptr) {
        throw nb::python_error();
    }
    return value;
}

// Of a tuple (address, shape, strides, is_bool).
muattn_tensor describe_tuple(const std::string &name, nb::handle tuple, Dimensions dimensions) {
    PyObject *const shape = PyTuple_GetItem(tuple.ptr(), 1), *const strides = PyTuple_GetItem(tuple.ptr(), 2);
    if (shape == nullptr || strides == nullptr) {
        throw nb::python_error();
    }
    check_rank(name, size_t(PyTuple_Size(shape)), dimensions);
    muattn_tensor t{};
    t.data = reinterpret_cast<void *>(intptr_t(integer_at(tuple.ptr(), 0)));
    t.dtype = PyTuple_GetItem(tuple.ptr(), 3) == Py_True ? MUATTN_BOOL : MUATTN_FLOAT32;
    bool has_elements = true;
    for (int i = 0; i < 4; i++) {
        const bool given = i < dimensions.count;
        t.shape[i] = given ? integer_at(shape, i) : 1;
        t.strides[i] = given ? integer_at(strides, i) : 1;
        has_elements = has_elements && t.shape[i] != 0;
    }
    tell_dense_from_repeated(t, has_elements);
    return t;
}

template<typename Array>
muattn_tensor describe(const std::string &name, const Array &array, Dimensions dimensions) {
    const int rank = dimensions.count;
    check_rank(name, array.ndim(), dimensions);
    const bool is_bool = dimensions.is_mask && array.dtype() == nb::dtype<bool>();
    if (array.dtype() != nb::dtype<float>() && !is_bool) {
        raise(PyExc_ValueError, name + ".dtype must be float32" + (dimensions.is_mask ? " or bool" : "") + ", not " +
                                    dtype_name(array.dtype()) + other_dtype(array.dtype(), dimensions.is_mask));
    }
    muattn_tensor t{};
    switch (array.device_type()) {
    case nb::device::cpu::value:
    case nb::device::cuda_host::value: t.device = MUATTN_CPU; break;
    case nb::device::cuda::value:
    case nb::device::cuda_managed::value: t.device = MUATTN_CUDA; break;
    default:
        raise(PyExc_ValueError,
              name + " must be in the memory of the CPU or of a CUDA device, not on DLPack device type " +
                  std::to_string(array.device_type()));
    }
    t.data = const_cast<void *>(static_cast<const void *>(array.data()));
    t.dtype = is_bool ? MUATTN_BOOL : MUATTN_FLOAT32;
    for (int i = 0; i < 4; i++) {
        t.shape[i] = i < rank ? array.shape(i) : 1;
        t.strides[i] = i < rank ? array.stride(i) : 1;
    }
    tell_dense_from_repeated(t, array.size() != 0);
    return t;
}

Tensor readable(const char *name, nb::handle array, Dimensions dimensions) {
    Tensor t;
    if (is_tuple(array)) {
        t.tensor = describe_tuple(name, array, dimensions);
        return t;
    }
    if (!nb::try_cast(array, t.read_only) || !t.read_only.is_valid()) {
        raise_no_array(name, array, "an array (NumPy or DLPack)");
    }
    t.tensor = describe(name, t.read_only, dimensions);
    return t;
}

// The array's own strides, as describe() may have changed them. False: it has no elements.
bool read_strides(const Tensor &t, nb::handle array, int64_t (&strides)[4]) {
    bool has_elements = true;
    for (int i = 0; i < 4; i++) {
        strides[i] = is_tuple(array) ? integer_at(PyTuple_GetItem(array.ptr(), 2), i) : t.read_only.stride(size_t(i));
        has_elements = has_elements && t.tensor.shape[i] != 0;
    }
    return has_elements;
}

}  // namespace

void raise(PyObject *type, const std::string &message) {
    PyErr_SetString(type, message.c_str());
    throw nb::python_error();
}

Tensor input(const char *name, nb::handle array, Dimensions dimensions) { return readable(name, array, dimensions); }

Tensor mask(const char *name, nb::handle array) {
    Tensor t = readable(name, array, kMask);
    int64_t strides[4];
    if (!read_strides(t, array, strides)) {
        return t;
    }
    // A repeated dimension of a mask may as well have extent 1; all strides 0 would mean 'dense' to the library.
    for (int i = 0; i < 4; i++) {
        if (strides[i] == 0) {
            t.tensor.shape[i] = 1;
        }
        t.tensor.strides[i] = strides[i];
    }
    t.tensor.strides[3] = t.tensor.shape[3] == 1 ? 1 : t.tensor.strides[3];
    return t;
}

Tensor mask_in_full(const char *name, nb::handle array) {
    Tensor t = readable(name, array, kMask);
    int64_t strides[4];
    if (!read_strides(t, array, strides)) {
        return t;
    }
    bool repeats_one = true;
    for (int i = 0; i < 4; i++) {
        t.tensor.strides[i] = t.tensor.shape[i] == 1 ? 1 : strides[i];
        repeats_one = repeats_one && t.tensor.strides[i] == 0;
    }
    if (repeats_one) {
        raise(PyExc_ValueError, std::string(name) +
                                    " repeats one element along every dimension: where its gradient is "
                                    "wanted, give it in the shape (1, 1, 1, 1)");
    }
    return t;
}

Tensor output(const char *name, nb::handle array, Dimensions dimensions) {
    Tensor t;
    if (is_tuple(array)) {
        t.tensor = describe_tuple(name, array, dimensions);
        return t;
    }
    if (!nb::try_cast(array, t.writable) || !t.writable.is_valid()) {
        raise_no_array(name, array, "a writable array (NumPy or DLPack)");
    }
    t.tensor = describe(name, t.writable, dimensions);
    return t;
}

nb::object new_array(std::initializer_list<int64_t> shape) {
    nb::list extents;
    for (int64_t extent : shape) {
        extents.append(extent);
    }
    return nb::module_::import_("numpy").attr("empty")(extents, "float32");
}

}  // namespace muattn::python
