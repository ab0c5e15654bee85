#include "bound_buffer.h"

namespace muattn {

// As storage_of() in generators/common/elements.h has it.
halide_type_t type_of(muattn_dtype dtype) {
    switch (dtype) {
    case MUATTN_BOOL: return halide_type_t(halide_type_uint, 8);
    case MUATTN_FLOAT16:
    case MUATTN_BFLOAT16: return halide_type_t(halide_type_uint, 16);
    case MUATTN_INT8: return halide_type_t(halide_type_int, 8);
    default: return halide_type_t(halide_type_float, 32);
    }
}

void BoundBuffer::bind(const Argument &argument) {
    const muattn_tensor &t = argument.tensor;
    for (int i = 0; i < 4; i++) {
        dims[i] = halide_dimension_t(0, int32_t(t.shape[3 - i]), int32_t(t.strides[3 - i]));
    }
    buffer.host = static_cast<uint8_t *>(t.data);
    buffer.type = type_of(t.dtype);
    buffer.dimensions = 4;
    buffer.dim = dims;
}

void BoundBuffer::bind(const void *data, halide_type_t type, std::initializer_list<Extent> extents) {
    int dim = 0;
    for (const Extent &extent : extents) {
        dims[dim++] = halide_dimension_t(0, int32_t(extent.size), int32_t(extent.stride));
    }
    buffer.host = static_cast<uint8_t *>(const_cast<void *>(data));
    buffer.type = type;
    buffer.dimensions = dim;
    buffer.dim = dims;
}

void BoundBuffer::leave_out_innermost() {
    buffer.dimensions--;
    buffer.dim = dims + 1;
}

void BoundBuffer::repeat_innermost(int64_t columns) { dims[0] = halide_dimension_t(0, int32_t(columns), 0); }

void BoundBuffer::bind(const HostArray &array) {
    dims[0] = halide_dimension_t(0, int32_t(array.extent), int32_t(array.stride));
    dims[1] = halide_dimension_t(0, int32_t(array.columns), int32_t(array.column_stride));
    buffer.host = static_cast<uint8_t *>(const_cast<void *>(array.data));
    buffer.type = array.type;
    buffer.dimensions = array.dimensions;
    buffer.dim = dims;
}

}  // namespace muattn
