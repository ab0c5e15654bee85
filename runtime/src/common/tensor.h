// Checks of the caller's tensors, and their translation to Halide's buffers.
#pragma once

#include <HalideRuntime.h>

#include <initializer_list>

#include "muattn/muattn.h"

namespace muattn {

// For products and sums of sizes, strides and offsets.
using Wide = __int128;

// A tensor that was checked: strides filled in, a name for messages and the status that names it.
struct Argument {
    const char *name;
    muattn_status status;
    muattn_tensor tensor;

    int64_t size(int dim) const { return tensor.shape[dim]; }
    float *data() const { return static_cast<float *>(tensor.data); }
    size_t element_bytes() const { return tensor.dtype == MUATTN_BOOL ? 1 : sizeof(float); }
    bool is_empty() const { return size(0) == 0 || size(1) == 0 || size(2) == 0 || size(3) == 0; }
};

// What numbers of the options may be, by magnitude, so that what kernels make of them is a normal number: they multiply scales by
// log2(e), for normalised channels by up to 1e12 as well, and softcaps by log2(e); they divide scales by softcaps, and output
// multipliers by up to MUATTN_MAX_D.
constexpr float kMinScale = 1e-37f, kMaxScale = 1e38f, kMaxNormalizedScale = 1e25f;
constexpr float kMinSoftcap = 1e-20f, kMaxSoftcap = 1e20f;
constexpr float kMinOutputMultiplier = 1e-34f, kMaxOutputMultiplier = 1e38f;
// NaN is not.
bool is_zero_or_between(float x, float least, float most);

// What a tensor may be besides dense float32 rows.
struct TensorRules {
    bool free_inner_stride;
    bool allow_bool;
};
constexpr TensorRules kDenseRows{false, false}, kAnyInnerStride{true, false}, kMaskRules{true, true};

// Takes over the caller's tensor: dtype, device, shape, strides and span; the pointer, unless it is empty.
muattn_status check_tensor(Argument &argument, const muattn_tensor *tensor, TensorRules rules = kDenseRows);

// Both are in the memory of the same device.
muattn_status check_device(const Argument &argument, const Argument &other);
bool any_negative_stride(std::initializer_list<const Argument *> arguments);

// argument.shape[dim] is a head dimension: 1..MUATTN_MAX_D. dim_name is "d" or "d_v".
muattn_status check_head_dim(const Argument &argument, int dim, const char *dim_name);

// argument.shape[dim] == size, where size is another argument's: rule says so in words, e.g. "must equal q's".
muattn_status check_size(const Argument &argument, int dim, const char *dim_name, int64_t size, const char *rule);

// The output's elements are distinct, and none is an element of an input.
muattn_status check_output(const Argument &output, const Argument *const *others, int count);

// A vector or matrix of the options: in the host's memory, columns of it one after the other.
struct HostArray {
    const void *data;
    halide_type_t type;
    int64_t extent, stride;  // of a column; stride 0: its elements are one
    int dimensions = 1;
    int64_t columns = 1, column_stride = 0;  // of a matrix; stride 0: its columns are one

    size_t bytes() const {
        const int64_t column = stride != 0 ? extent : 1;
        return size_t(column_stride != 0 ? (columns - 1) * column_stride + column : column) * size_t(type.bytes());
    }
};

// One number, or one per head.
struct PerHead {
    const float *values = nullptr;
    bool differ = false;

    HostArray array(int64_t heads) const { return {values, halide_type_t(halide_type_float, 32), heads, differ}; }
};

// scale and scale_count of the options: numbers in the range that kernels take, one or one per head; null: the rule's.
muattn_status check_scale(PerHead &checked, const float *scale, int64_t count, int64_t heads, float most = kMaxScale);

// A Halide buffer with its own dimensions, innermost first.
struct BoundBuffer {
    halide_buffer_t buffer{};
    halide_dimension_t dims[4];

    BoundBuffer() = default;
    BoundBuffer(const BoundBuffer &) = delete;
    BoundBuffer &operator=(const BoundBuffer &) = delete;

    void bind(const Argument &argument);
    // As bind, of an innermost dimension with extent 1: leaves it out, or makes it so many columns that are one element.
    void bind_rows(const Argument &argument);
    void bind_repeated(const Argument &argument, int64_t columns);
    void bind(const HostArray &array);
};

}  // namespace muattn
