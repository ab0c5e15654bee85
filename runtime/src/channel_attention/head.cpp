// The steps of a head: memory, their number of tasks, and what is done with maps alone.
#include "head.h"

#include <algorithm>

#include "head_tensors.h"

namespace muattn {
namespace {

using Tensor = ChannelPartsCall::Tensor;

// x has rows of so many columns; out, of as many rows, has one more for each row of x, and may have some past these.
int transpose(CallContext &context, const Kernel &kernel, const Matrix &x, int64_t rows, int64_t columns,
              const Matrix &out, int64_t out_columns) {
    TaskArguments arguments(context);
    arguments.array(x.data, {{columns, 1}, {rows, x.stride}});
    arguments.array(out.data, {{out_columns, 1}, {columns, out.stride}});
    return arguments.run(kernel);
}

}  // namespace

int64_t HeadMaps::lay_out(HeadMaps &maps, float *floats, const ChannelParts &parts, const ChannelSteps &steps,
                          int64_t d) {
    int64_t count = 0;
    const auto take = [&](float *&place, int64_t size) {
        place = floats != nullptr ? floats + count : nullptr;
        count += (size + 31) / 32 * 32;
    };
    const int64_t map = parts.map_floats(d);
    for (float **place : {&maps.s, &maps.m, &maps.a, &maps.w}) {
        take(*place, map);
    }
    for (float **place : {&maps.squares[0], &maps.squares[1], &maps.g, &maps.d, &maps.c_q, &maps.c_k}) {
        take(*place, parts.padded);
    }
    take(maps.c_k_parts, parts.row_tiles * d);
    for (float *&place : maps.stats) {
        take(place, steps.stats ? parts.padded : 0);
    }
    if (parts.spans > 1) {
        take(maps.s_parts, steps.map ? parts.spans * map : 0);
        take(maps.m_parts, steps.d_map ? parts.spans * map : 0);
    }
    for (float *&place : maps.square_parts) {
        take(place, steps.squares ? parts.spans * parts.padded : 0);
    }
    return count;
}

void Head::list_steps(Tasks (&list)[kSteps], const ChannelPartsCall &call, const ChannelSteps &steps,
                      const ChannelParts &parts) {
    const int64_t tiles = (call.d + parts.row_tile - 1) / parts.row_tile;
    const int64_t parts_to_add = parts.spans > 1 ? steps.sums() * ((call.d + kRowsToAdd - 1) / kRowsToAdd) : 0;
    const int64_t maps_to_transpose = int64_t(steps.attention_columns()) + steps.gradient_columns();
    list[0] = {&Head::sum_tokens, parts.spans * sums_of_span(steps, parts)};
    list[1] = {&Head::add_spans, 1 + parts_to_add};
    list[2] = {&Head::do_rows, steps.rows() ? parts.row_tiles : 0};
    list[3] = {&Head::transpose_maps, (steps.gradient ? 1 : 0) + maps_to_transpose * tiles};
    list[4] = {&Head::multiply_tokens, steps.products() * (call.n > 0 ? parts.token_tiles : 0)};
}

double Head::sum(const float *of_rows) const {
    double sum = 0;
    for (int64_t i = 0; i < call_.d; i++) {
        sum += double(of_rows[i]);
    }
    return sum;
}

void Head::write_stats() const {
    const float *rows[kRowStats];
    std::copy_n(maps_.stats, kRowStats, rows);
    LogitSums sums;
    sums.add_rows(rows, call_.d);
    sums.write(head_of(call_.stats, b_, h_));
}

// A tile of rows: the caller's maps brought into the form of ours, statistics, softmax, gradient.
int Head::do_rows(int64_t task) const {
    const int64_t d = call_.d, row = task * parts_.row_tile;
    const bool last = task + 1 == parts_.row_tiles;
    const int64_t rows = last ? d - row : parts_.row_tile, with_padding = last ? parts_.padded - row : rows;
    const auto array = [&](TaskArguments &arguments, const float *map) {
        arguments.array(map + row, {{with_padding, 1}, {d, parts_.map_row}});
    };
    const auto squares = [&](TaskArguments &arguments) {
        arguments.array(maps_.squares[0] + row, {{with_padding, 1}});
        arguments.array(maps_.squares[1], {{d, 1}});
    };
    struct {
        const Tensor &tensor;
        bool read;
        float *map;
    } const given[] = {{call_.map, !steps_.map, maps_.s},
                       {call_.d_attention_map, !steps_.d_map, maps_.m},
                       {call_.attention_map, !steps_.attention_map, maps_.a}};
    for (const auto &g : given) {
        if (g.tensor.given && g.read) {
            const Matrix x = map_of(g.tensor, b_, h_);
            const int error = transpose(context_, *parts_.transpose, {x.data + row * x.stride, x.stride}, rows, d,
                                        {g.map + row, parts_.map_row}, with_padding);
            if (error != 0) {
                return error;
            }
        }
    }
    const float scale = call_.scale.at(h_);
    if (steps_.stats) {
        TaskArguments arguments(context_);
        array(arguments, maps_.s);
        squares(arguments);
        arguments.number(scale);
        for (const float *of_rows : maps_.stats) {
            arguments.array(of_rows + row, {{with_padding, 1}});
        }
        if (const int error = arguments.run(*parts_.stats)) {
            return error;
        }
    }
    if (steps_.softmax) {
        TaskArguments arguments(context_);
        array(arguments, maps_.s);
        squares(arguments);
        arguments.number(scale);
        array(arguments, maps_.a);
        const int error = arguments.run(*parts_.softmax);
        if (error != 0) {
            return error;
        }
    }
    if (!steps_.gradient) {
        return 0;
    }
    TaskArguments arguments(context_);
    array(arguments, maps_.a);
    // Without the products, whose sums with w nobody wants then.
    array(arguments, steps_.map || call_.map.given ? maps_.s : maps_.a);
    array(arguments, maps_.m);
    squares(arguments);
    arguments.number(int32_t(rows));
    arguments.number(call_.output_multiplier);
    array(arguments, maps_.w);
    for (const float *of_rows : {maps_.g, maps_.d, maps_.c_q}) {
        arguments.array(of_rows + row, {{with_padding, 1}});
    }
    arguments.array(maps_.c_k_parts + task * d, {{d, 1}});
    return arguments.run(*parts_.gradient);
}

// Some rows of the attention map, or of the gradient, with columns in the lanes; or the parts of c_k are added up, in order.
int Head::transpose_maps(int64_t task) const {
    const int64_t d = call_.d;
    if (steps_.gradient) {
        if (task == 0) {
            for (int64_t j = 0; j < d; j++) {
                float sum = 0;
                for (int64_t tile = 0; tile < parts_.row_tiles; tile++) {
                    sum += maps_.c_k_parts[tile * d + j];
                }
                maps_.c_k[j] = sum;
            }
            return 0;
        }
        task--;
    }
    const bool of_gradient = !steps_.attention_columns() || task >= parts_.row_tiles;
    const int64_t column = task % parts_.row_tiles * parts_.row_tile;
    const bool last = column + parts_.row_tile >= d;
    const int64_t count = last ? d - column : parts_.row_tile;
    Matrix out{of_gradient ? maps_.m : maps_.s, parts_.map_row};
    int64_t with_padding = last ? parts_.padded - column : count;
    if (!of_gradient && steps_.attention_map) {
        out = map_of(call_.attention_map, b_, h_);
        with_padding = count;
    }
    const float *const map = of_gradient ? maps_.w : maps_.a;
    return transpose(context_, *parts_.transpose, {const_cast<float *>(map) + column * parts_.map_row, parts_.map_row},
                     count, d, {out.data + column, out.stride}, with_padding);
}

}  // namespace muattn
