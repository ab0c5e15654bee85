// float32 copies of numbers in 16 bits: kernels compute in float32, and most of them read nothing else.
#pragma once

#include "tasks.h"

namespace muattn {

// The kernels between float32 and another type; null for float32 itself.
struct Converter {
    const Kernel *widen = nullptr, *round = nullptr;
};
// MUATTN_UNSUPPORTED where the backend has none.
muattn_status find_converter(int backend, const Argument &argument, Converter *converter);

// Rows of one or several heads; strides count elements.
struct Rows {
    void *data;
    muattn_dtype dtype;
    int64_t columns, rows, heads, row_stride, head_stride;

    int64_t count() const { return columns * rows * heads; }
    Rows dense_floats(float *floats) const {
        return {floats, MUATTN_FLOAT32, columns, rows, heads, columns, columns * rows};
    }
};
// Some of a tensor's.
inline Rows rows_of(const Argument &argument, int64_t b, int64_t h, int64_t heads, int64_t row, int64_t rows) {
    const int64_t *s = argument.tensor.strides;
    return {argument.row(b, h, row), argument.tensor.dtype, argument.size(3), rows, heads, s[2], s[1]};
}

// 0, or Halide's error.
int convert(CallContext &context, const Kernel &kernel, const Rows &from, const Rows &to);

// Rows as float32, within a task: those of the caller, or a dense copy in the task's scratch memory, where they are in 16 bits.
class FloatRows {
public:
    // memory: for the copy, where it is not the task's.
    FloatRows(CallContext &context, const Converter &converter, const Rows &rows, float *memory = nullptr)
        : context_(context), converter_(converter), given_(rows), memory_(memory) {}
    FloatRows(const FloatRows &) = delete;
    FloatRows &operator=(const FloatRows &) = delete;
    ~FloatRows() {
        if (copy_ != nullptr && copy_ != memory_) {
            current_slab->pop(copy_);
        }
    }

    // Of scratch memory, for so many rows.
    static int64_t scratch_bytes(const Argument &of, int64_t rows, int64_t columns) {
        return of.is_float() ? 0 : Slab::block_bytes(rows * columns * int64_t(sizeof(float)));
    }

    // One of these comes first. 0, or Halide's error.
    int read() {
        const int error = open();
        return error != 0 || copy_ == nullptr ? error : convert(context_, *converter_.widen, given_, floats_);
    }
    // What is there is not read.
    int open() {
        floats_ = given_;
        if (converter_.widen == nullptr) {
            return 0;
        }
        copy_ = memory_;
        if (copy_ == nullptr) {
            copy_ = static_cast<float *>(current_slab->push(size_t(given_.count()) * sizeof(float)));
        }
        floats_ = given_.dense_floats(copy_);
        return copy_ != nullptr ? 0 : halide_error_code_out_of_memory;
    }
    // What was computed goes to the caller.
    int write() { return copy_ != nullptr ? convert(context_, *converter_.round, floats_, given_) : 0; }

    // 0 in all of them.
    void clear() const;

    float *data() const { return static_cast<float *>(floats_.data); }
    float *row(int64_t head, int64_t row) const {
        return data() + head * floats_.head_stride + row * floats_.row_stride;
    }
    int64_t row_stride() const { return floats_.row_stride; }
    int64_t head_stride() const { return floats_.head_stride; }

private:
    CallContext &context_;
    const Converter &converter_;
    const Rows given_;
    Rows floats_{};
    float *const memory_;
    float *copy_ = nullptr;
};

// For copies of a part of a call, which a kernel reads soon after they are written: as many as stay in a processor's cache for each thread.
int64_t floats_at_once();
// A dense tensor of float32, of the same shape, in this memory.
Argument dense_floats(const Argument &argument, float *floats);

// A tensor and its copy in another type, for calls that convert in loops of their own.
struct Conversion {
    Argument from, to;
    const Kernel *kernel;

    int64_t pieces() const;
    int run(CallContext &context, int64_t piece) const;
};
void run_conversions(Tasks &tasks, const Conversion *conversions, int count);

}  // namespace muattn
