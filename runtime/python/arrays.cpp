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
        return dimensions.types == Types::mask ? ": " + name + "[None, None] is that of [n_q, n_k], " + name +
                                                     "[:, None, None] that of [batch, n_k]"
                                               : ": " + name + "[None, None] where batch and heads are missing";
    default: return "";
    }
}

// What the library calls an element type. False: nothing.
bool find_dtype(nb::dlpack::dtype dtype, muattn_dtype &found) {
    using Code = nb::dlpack::dtype_code;
    static constexpr struct {
        Code code;
        int bits;
        muattn_dtype dtype;
    } kDtypes[] = {{Code::Float, 32, MUATTN_FLOAT32},
                   {Code::Float, 16, MUATTN_FLOAT16},
                   {Code::Bfloat, 16, MUATTN_BFLOAT16},
                   {Code::Int, 8, MUATTN_INT8},
                   {Code::Bool, 8, MUATTN_BOOL}};
    for (const auto &known : kDtypes) {
        if (Code(dtype.code) == known.code && dtype.bits == known.bits && dtype.lanes == 1) {
            found = known.dtype;
            return true;
        }
    }
    return false;
}

bool is_allowed(muattn_dtype dtype, Types types) {
    switch (dtype) {
    case MUATTN_FLOAT32: return true;
    case MUATTN_FLOAT16:
    case MUATTN_BFLOAT16: return types == Types::floats || types == Types::floats_or_int8;
    case MUATTN_INT8: return types == Types::floats_or_int8;
    case MUATTN_BOOL: return types == Types::mask;
    }
    return false;
}

const char *words_of(Types types) {
    switch (types) {
    case Types::floats: return "float32, float16 or bfloat16";
    case Types::floats_or_int8: return "float32, float16, bfloat16 or int8";
    case Types::mask: return "float32 or bool";
    default: return "float32";
    }
}

// Why an array of numbers is no mask, or no matrix, in words that lead to the right one.
std::string other_dtype(nb::dlpack::dtype dtype, Types types) {
    using Code = nb::dlpack::dtype_code;
    const Code code = Code(dtype.code);
    if (types == Types::mask && (code == Code::Int || code == Code::UInt)) {
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
        const char *or_more = dimensions.may_end_in_one ? ", or a last one of 1 as well" : "";
        raise(PyExc_ValueError, name + " must have " + std::to_string(dimensions.count) + " dimensions " +
                                    dimensions.names + or_more + ", not " + std::to_string(rank) +
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

// Of a tuple (address, shape, strides, muattn_dtype).
muattn_tensor describe_tuple(const std::string &name, nb::handle tuple, Dimensions dimensions) {
    PyObject *const shape = PyTuple_GetItem(tuple.ptr(), 1), *const strides = PyTuple_GetItem(tuple.ptr(), 2);
    if (shape == nullptr || strides == nullptr) {
        throw nb::python_error();
    }
    const int rank = int(PyTuple_Size(shape));
    const bool ends_in_one =
        dimensions.may_end_in_one && rank == dimensions.count + 1 && integer_at(shape, rank - 1) == 1;
    check_rank(name, size_t(rank - ends_in_one), dimensions);
    muattn_tensor t{};
    t.data = reinterpret_cast<void *>(intptr_t(integer_at(tuple.ptr(), 0)));
    t.dtype = muattn_dtype(integer_at(tuple.ptr(), 3));
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
    const bool ends_in_one =
        dimensions.may_end_in_one && int(array.ndim()) == rank + 1 && array.shape(size_t(rank)) == 1;
    check_rank(name, array.ndim() - ends_in_one, dimensions);
    muattn_tensor t{};
    if (!find_dtype(array.dtype(), t.dtype) || !is_allowed(t.dtype, dimensions.types)) {
        raise(PyExc_ValueError, name + ".dtype must be " + words_of(dimensions.types) + ", not " +
                                    dtype_name(array.dtype()) + other_dtype(array.dtype(), dimensions.types));
    }
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

namespace {

// Of NumPy, in the form that writable() reads.
nb::object new_array(nb::object &array, Shape shape, muattn_dtype dtype) {
    nb::list extents;
    for (int64_t extent : shape) {
        extents.append(extent);
    }
    const bool is_bfloat16 = dtype == MUATTN_BFLOAT16;
    const char *const name = is_bfloat16 ? "uint16" : dtype == MUATTN_FLOAT16 ? "float16" : "float32";
    array = nb::module_::import_("numpy").attr("empty")(extents, name);
    return is_bfloat16 ? as_bfloat16(array) : array;
}

template<typename Array>
nb::object share_as_bfloat16(const Array &bits, nb::handle owner) {
    const nb::dlpack::dtype dtype{uint8_t(nb::dlpack::dtype_code::Bfloat), 16, 1};
    std::vector<size_t> shape;
    std::vector<int64_t> strides;
    for (size_t i = 0; i < bits.ndim(); i++) {
        shape.push_back(bits.shape(i));
        strides.push_back(bits.stride(i));
    }
    return nb::cast(Array(bits.data(), shape.size(), shape.data(), owner, strides.data(), dtype));
}

}  // namespace

Tensor output(const char *name, nb::object &array, Shape shape, muattn_dtype dtype, Dimensions dimensions) {
    Tensor t;
    if (is_tuple(array)) {
        t.tensor = describe_tuple(name, array, dimensions);
        return t;
    }
    const nb::object memory = array.is_none() ? new_array(array, shape, dtype) : array;
    if (!nb::try_cast(memory, t.writable) || !t.writable.is_valid()) {
        raise_no_array(name, memory, "a writable array (NumPy or DLPack)");
    }
    t.tensor = describe(name, t.writable, dimensions);
    return t;
}

nb::object as_bfloat16(nb::object bits) {
    nb::ndarray<nb::array_api> writable;
    if (nb::try_cast(bits, writable)) {
        return share_as_bfloat16(writable, bits);
    }
    return share_as_bfloat16(nb::cast<nb::ndarray<nb::array_api, nb::ro>>(bits), bits);
}

}  // namespace muattn::python
