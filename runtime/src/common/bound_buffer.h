// Tensors and arrays of the host as Halide's buffers.
#pragma once

#include <HalideRuntime.h>

#include <initializer_list>

#include "tensor.h"

namespace muattn {

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

// One dimension of a part of a tensor.
struct Extent {
    int64_t size, stride;
};

// A Halide buffer with its own dimensions, innermost first.
halide_type_t type_of(muattn_dtype dtype);

struct BoundBuffer {
    halide_buffer_t buffer{};
    halide_dimension_t dims[4];

    BoundBuffer() = default;
    BoundBuffer(const BoundBuffer &) = delete;
    BoundBuffer &operator=(const BoundBuffer &) = delete;

    void bind(const Argument &argument);
    void bind(const HostArray &array);
    // Dimensions innermost first.
    void bind(const void *data, halide_type_t type, std::initializer_list<Extent> extents);
    // Of what is bound, an innermost dimension with extent 1: is left out, or becomes so many columns that are one element.
    void leave_out_innermost();
    void repeat_innermost(int64_t columns);
};

}  // namespace muattn
