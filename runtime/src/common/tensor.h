// The caller's tensors, and their rules.
#pragma once

#include <initializer_list>

#include "muattn/muattn.h"

namespace muattn {

// For products and sums of sizes, strides and offsets.
using Wide = __int128;

constexpr size_t bytes_of(muattn_dtype dtype) {
    switch (dtype) {
    case MUATTN_BOOL:
    case MUATTN_INT8: return 1;
    case MUATTN_FLOAT16:
    case MUATTN_BFLOAT16: return 2;
    default: return sizeof(float);
    }
}
const char *name_of(muattn_dtype dtype);

// A tensor that was checked: strides filled in, a name for messages and the status that names it.
struct Argument {
    const char *name;
    muattn_status status;
    muattn_tensor tensor;

    int64_t size(int dim) const { return tensor.shape[dim]; }
    float *data() const { return static_cast<float *>(tensor.data); }  // of float32
    bool is_float() const { return tensor.dtype == MUATTN_FLOAT32; }
    size_t element_bytes() const { return bytes_of(tensor.dtype); }
    // Element [b, h, row, 0].
    void *row(int64_t b, int64_t h, int64_t row) const {
        const int64_t *s = tensor.strides, element = b * s[0] + h * s[1] + row * s[2];
        return static_cast<uint8_t *>(tensor.data) + element * int64_t(element_bytes());
    }
    bool is_empty() const { return size(0) == 0 || size(1) == 0 || size(2) == 0 || size(3) == 0; }
};

// What a tensor may be.
enum class Dtypes { float32, floats, floats_or_int8, mask };  // floats: float32, float16, bfloat16
struct TensorRules {
    bool free_inner_stride;
    Dtypes dtypes;
};
constexpr TensorRules kDenseRows{false, Dtypes::float32}, kAnyInnerStride{true, Dtypes::float32},
    kMaskRules{true, Dtypes::mask}, kDenseFloats{false, Dtypes::floats}, kCacheRules{false, Dtypes::floats_or_int8};

// Takes over the caller's tensor: dtype, device, shape, strides and span; the pointer, unless it is empty.
muattn_status check_tensor(Argument &argument, const muattn_tensor *tensor, TensorRules rules = kDenseRows);

// Both are in the memory of the same device.
muattn_status check_device(const Argument &argument, const Argument &other);
bool any_negative_stride(std::initializer_list<const Argument *> arguments);

// argument.shape[dim] is a head dimension: 1..MUATTN_MAX_D. dim_name is "d" or "d_v".
muattn_status check_head_dim(const Argument &argument, int dim, const char *dim_name);

// argument.shape[dim] == size, where size is another argument's: rule says so in words, e.g. "must equal q's".
muattn_status check_size(const Argument &argument, int dim, const char *dim_name, int64_t size, const char *rule);

// argument's dtype is that of another.
muattn_status check_dtype(const Argument &argument, const Argument &other);

// Takes over a tensor that has the device, the shape and the dtype of another argument; dims: the names of its dimensions.
muattn_status check_like(Argument &argument, const muattn_tensor *tensor, const Argument &other,
                         const char *const (&dims)[4], const char *rule);

// The output's elements are distinct, and none is an element of an input.
muattn_status check_output(const Argument &output, const Argument *const *others, int count);

}  // namespace muattn
