// Arrays that own their memory, and views of a caller's tensors.
#pragma once

#include <mpi.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "muattn/distributed/stretches.hpp"
#include "muattn/mpi/messages.hpp"
#include "muattn/muattn.hpp"

namespace muattn::mpi::detail {

inline size_t bytes_of(muattn_dtype dtype) {
    switch (dtype) {
    case MUATTN_FLOAT16:
    case MUATTN_BFLOAT16: return 2;
    case MUATTN_BOOL:
    case MUATTN_INT8: return 1;
    default: return 4;
    }
}
inline MPI_Datatype mpi_type_of(muattn_dtype dtype) { return dtype == MUATTN_FLOAT32 ? MPI_FLOAT : MPI_UINT16_T; }
inline int64_t size_of(const muattn_tensor &t) { return t.shape[0] * t.shape[1] * t.shape[2] * t.shape[3]; }

// With the strides of a dense array where none are given.
inline muattn_tensor with_strides(muattn_tensor t) {
    if (t.strides[0] == 0 && t.strides[1] == 0 && t.strides[2] == 0 && t.strides[3] == 0) {
        int64_t stride = 1;
        for (int dim = 3; dim >= 0; stride *= t.shape[dim--]) {
            t.strides[dim] = stride;
        }
    }
    return t;
}
// Indices start .. start + count - 1 of a dimension.
inline muattn_tensor slice(const muattn_tensor &tensor, int dim, int64_t start, int64_t count) {
    muattn_tensor t = with_strides(tensor);
    t.shape[dim] = count;
    if (t.data != nullptr && size_of(t) > 0) {
        t.data = static_cast<char *>(t.data) + (t.offset + start * t.strides[dim]) * int64_t(bytes_of(t.dtype));
        t.offset = 0;
    }
    return t;
}
inline muattn_tensor tokens_of(const muattn_tensor &t, const distributed::Rows &rows) {
    return slice(t, 2, rows.start, rows.count());
}

// f(row of a, row of b), for all rows of two tensors of one shape; rows as pointers to their first elements.
template<typename Function>
void for_rows(const muattn_tensor &tensor_a, const muattn_tensor &tensor_b, const Function &f) {
    const muattn_tensor a = with_strides(tensor_a), b = with_strides(tensor_b);
    const auto row = [](const muattn_tensor &t, int64_t i, int64_t j, int64_t k) {
        return static_cast<char *>(t.data) +
               (t.offset + i * t.strides[0] + j * t.strides[1] + k * t.strides[2]) * int64_t(bytes_of(t.dtype));
    };
    if (size_of(a) == 0) {
        return;
    }
    for (int64_t i = 0; i < a.shape[0]; i++) {
        for (int64_t j = 0; j < a.shape[1]; j++) {
            for (int64_t k = 0; k < a.shape[2]; k++) {
                f(row(a, i, j, k), row(b, i, j, k));
            }
        }
    }
}
// Of the same type.
inline void copy(const muattn_tensor &from, const muattn_tensor &to) {
    const size_t bytes = size_t(from.shape[3]) * bytes_of(from.dtype);
    for_rows(from, to, [&](const char *source, char *target) { memcpy(target, source, bytes); });
}
inline void add(const muattn_tensor &from, const muattn_tensor &to) {  // float32
    for_rows(from, to, [&](const char *source, char *target) {
        const float *x = reinterpret_cast<const float *>(source);
        float *y = reinterpret_cast<float *>(target);
        for (int64_t i = 0; i < from.shape[3]; i++) {
            y[i] += x[i];
        }
    });
}
inline void multiply(const muattn_tensor &t, float factor) {  // float32
    for_rows(t, t, [&](const char *, char *target) {
        float *x = reinterpret_cast<float *>(target);
        for (int64_t i = 0; i < t.shape[3]; i++) {
            x[i] *= factor;
        }
    });
}
inline void fill(const muattn_tensor &t, float value) {  // float32
    for_rows(t, t,
             [&](const char *, char *target) { std::fill_n(reinterpret_cast<float *>(target), t.shape[3], value); });
}
// A dense array that lives as long as one of its copies. Its elements are not set.
class Array {
public:
    Array() = default;
    Array(muattn_dtype dtype, const Shape &shape)
        : memory_(new char[std::max<size_t>(size_t(shape[0] * shape[1] * shape[2] * shape[3]) * bytes_of(dtype), 1)],
                  [](void *p) { delete[] static_cast<char *>(p); }),
          view_(with_strides(tensor(memory_.get(), dtype, shape))) {}

    explicit operator bool() const { return memory_ != nullptr; }
    const muattn_tensor &view() const { return view_; }
    const std::shared_ptr<void> &memory() const { return memory_; }
    float *floats() const { return static_cast<float *>(view_.data); }
    int64_t size() const { return size_of(view_); }

private:
    std::shared_ptr<void> memory_;
    muattn_tensor view_{};
};

inline Shape shape_of(const muattn_tensor &t) { return {t.shape[0], t.shape[1], t.shape[2], t.shape[3]}; }
inline Shape with_tokens(const muattn_tensor &t, int64_t n) { return {t.shape[0], t.shape[1], n, t.shape[3]}; }

inline void require_processor(const muattn_tensor &q) {
    if (q.device != MUATTN_CPU) {
        throw Error(MUATTN_UNSUPPORTED, "q.device: tensors must be in the processor's memory");
    }
}

// float32: the tensor itself, or a copy that memory keeps.
inline muattn_tensor as_floats(const muattn_tensor &t, Array &memory) {
    if (t.dtype == MUATTN_FLOAT32) {
        return with_strides(t);
    }
    memory = Array(MUATTN_FLOAT32, shape_of(t));
    convert(t, memory.view());
    return memory.view();
}

}  // namespace muattn::mpi::detail
