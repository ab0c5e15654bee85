// Python arrays (NumPy, or anything with DLPack) as muattn_tensor, without copies.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <initializer_list>
#include <string>

#include "muattn/muattn.h"

namespace muattn::python {

// Raises a Python exception of this type.
[[noreturn]] void raise(PyObject *type, const std::string &message);

// The element types that an argument may have. The library checks which go together, and names of a tuple's too.
enum class Types {
    float32,
    floats,
    floats_or_int8,
    mask
};  // floats: float32, float16, bfloat16; mask: float32 or bool

// A view of a Python array, which it keeps alive. The GIL is needed to copy or destroy it, not to read it.
struct Tensor {
    nanobind::ndarray<nanobind::ro> read_only;  // invalid, as the other, if the array came as a tuple
    nanobind::ndarray<> writable;
    muattn_tensor tensor{};
};

// What an argument's dimensions are, for messages, and what its elements.
struct Dimensions {
    int count;
    const char *names;
    Types types = Types::float32;
    bool may_end_in_one = false;  // one dimension more
};
constexpr Dimensions kTokens{4, "[batch, heads, tokens, channels]", Types::floats};
constexpr Dimensions kCache{4, kTokens.names, Types::floats_or_int8};
constexpr Dimensions kChannelsFirst{4, "[batch, heads, channels, tokens]", Types::floats};
constexpr Dimensions kMask{4, "[batch, heads, n_q, n_k], each full or 1", Types::mask};
constexpr Dimensions kRows{3, "[batch, heads, tokens]"};
constexpr Dimensions kRowScales{3, "[batch, key/value heads, n_k]", Types::float32, true};
constexpr Dimensions kMap{4, "[batch, heads, channels of q, channels of k]"};
constexpr Dimensions kChannels{3, "[batch, heads, channels]"};
constexpr Dimensions kHeads{1, "[heads]"};
constexpr Dimensions kStats{4, "[batch, heads, 1, 4]"};

// An array is also a tuple (address, shape, strides, muattn_dtype), of memory that the caller keeps and has checked: tensors of PyTorch tell that
// in a third of the time that DLPack takes.
// Errors: TypeError (no array), ValueError (rank, dtype, device). The library checks the rest. Rank 3 becomes rank 4 with
// one element innermost: [B, H, n_q] is lse's [B, H, n_q, 1], [B, H, d] that of squares.
Tensor input(const char *name, nanobind::handle array, Dimensions dimensions = kTokens);

// A mask: float32 or bool, any strides. A dimension along which it repeats gets extent 1.
Tensor mask(const char *name, nanobind::handle array);

// The same in the shape that it has, as its gradient has it. ValueError for one element that repeats along all dimensions.
Tensor mask_in_full(const char *name, nanobind::handle array);

// As input. TypeError also if read-only. Where array is None it becomes a new one of this shape and type: NumPy's or, for bfloat16, which NumPy has
// not, NumPy's of uint16. NumPy is imported here, when it is first needed, because that takes longer than all the rest of `import muattn`.
using Shape = std::initializer_list<int64_t>;
Tensor output(const char *name, nanobind::object &array, Shape shape, muattn_dtype dtype,
              Dimensions dimensions = kTokens);

// A NumPy array of uint16, as what muattn and other libraries read as bfloat16: an object with __dlpack__ that shares its memory.
nanobind::object as_bfloat16(nanobind::object bits);

}  // namespace muattn::python
