#include "convert.h"

#include <algorithm>

#include "registry.h"

namespace muattn {
namespace {

// Rows are dense, whatever their strides: no kernel of a conversion gathers.
const Kernel *find(int backend, muattn_dtype from, muattn_dtype to) {
    return find_kernel(backend, Algorithm::general, {Operation::convert, Direction::forward, {from, to, to}});
}

// Rows of a head, or a part of one.
constexpr int64_t kElementsOfPiece = 1 << 15;

int64_t rows_of_piece(const Argument &argument) { return std::max<int64_t>(kElementsOfPiece / argument.size(3), 1); }

int64_t pieces_of_row(const Argument &argument) { return (argument.size(3) + kElementsOfPiece - 1) / kElementsOfPiece; }

int64_t pieces_of_head(const Argument &argument) {
    const int64_t rows = rows_of_piece(argument);
    return (argument.size(2) + rows - 1) / rows * pieces_of_row(argument);
}

}  // namespace

muattn_status find_converter(int backend, const Argument &argument, Converter *converter) {
    const muattn_dtype dtype = argument.tensor.dtype;
    if (dtype == MUATTN_FLOAT32) {
        *converter = {};
        return MUATTN_OK;
    }
    if (device_of(backend) != MUATTN_CPU) {
        return fail(MUATTN_UNSUPPORTED, "%s.dtype: GPUs compute with float32 alone, not with %s", argument.name,
                    name_of(dtype));
    }
    if (!kHasOtherTypes) {
        return fail(MUATTN_UNSUPPORTED, "%s.dtype: this build has no kernels for %s", argument.name, name_of(dtype));
    }
    if (dtype == MUATTN_INT8) {
        return fail(MUATTN_UNSUPPORTED,
                    "%s.dtype: this build has no kernel for int8, or not for so many queries at once", argument.name);
    }
    *converter = {find(backend, dtype, MUATTN_FLOAT32), find(backend, MUATTN_FLOAT32, dtype)};
    return converter->widen != nullptr && converter->round != nullptr
               ? MUATTN_OK
               : fail(MUATTN_UNSUPPORTED, "%s.dtype: this build has no kernels for %s", argument.name, name_of(dtype));
}

int convert(CallContext &context, const Kernel &kernel, const Rows &from, const Rows &to) {
    if (from.count() == 0) {
        return 0;
    }
    TaskArguments arguments(context);
    const bool one_row = from.row_stride == from.columns && to.row_stride == to.columns;
    for (const Rows *rows : {&from, &to}) {
        const Extent columns{one_row ? rows->columns * rows->rows : rows->columns, 1};
        arguments.array(
            rows->data, type_of(rows->dtype),
            {columns, {one_row ? 1 : rows->rows, one_row ? 0 : rows->row_stride}, {rows->heads, rows->head_stride}});
    }
    return arguments.run(kernel);
}

void FloatRows::clear() const {
    for (int64_t head = 0; head < floats_.heads; head++) {
        for (int64_t i = 0; i < floats_.rows; i++) {
            std::fill_n(row(head, i), floats_.columns, 0.0f);
        }
    }
}

int64_t floats_at_once() {
    constexpr int64_t kFloatsOfThread = 1 << 18;
    return kFloatsOfThread * std::max(muattn_get_num_threads(), 1);
}

Argument dense_floats(const Argument &argument, float *floats) {
    Argument result = argument;
    muattn_tensor &t = result.tensor;
    t.data = floats;
    t.dtype = MUATTN_FLOAT32;
    t.strides[3] = 1;
    for (int dim = 2; dim >= 0; dim--) {
        t.strides[dim] = t.strides[dim + 1] * t.shape[dim + 1];
    }
    return result;
}

int64_t Conversion::pieces() const { return from.size(0) * from.size(1) * pieces_of_head(from); }

int Conversion::run(CallContext &context, int64_t piece) const {
    const int64_t of_head = pieces_of_head(from), of_row = pieces_of_row(from), head = piece / of_head,
                  row = piece % of_head / of_row * rows_of_piece(from), column = piece % of_row * kElementsOfPiece;
    const int64_t rows = std::min(rows_of_piece(from), from.size(2) - row), b = head / from.size(1),
                  h = head % from.size(1), columns = std::min(kElementsOfPiece, from.size(3) - column);
    const auto part_of = [&](const Argument &argument) {
        Rows part = rows_of(argument, b, h, 1, row, rows);
        part.data = static_cast<uint8_t *>(part.data) + column * int64_t(argument.element_bytes());
        part.columns = columns;
        return part;
    };
    return convert(context, *kernel, part_of(from), part_of(to));
}

void run_conversions(Tasks &tasks, const Conversion *conversions, int count) {
    int64_t pieces = 0;
    for (int i = 0; i < count; i++) {
        pieces += conversions[i].pieces();
    }
    tasks.run(pieces, [&](int64_t piece) {
        const Conversion *of = conversions;
        for (; piece >= of->pieces(); of++) {
            piece -= of->pieces();
        }
        return of->run(tasks.context(), piece);
    });
}

}  // namespace muattn
