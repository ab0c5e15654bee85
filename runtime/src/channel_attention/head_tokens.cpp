// The steps of a head that go through its tokens: sums over them, whose parts are added up, and products.
#include <algorithm>

#include "head.h"
#include "head_tensors.h"

namespace muattn {

using Tensor = ChannelPartsCall::Tensor;

// Of a span, in an order in which those that read the same tokens follow one another: tiles of the map, squares, tiles of the other map.
int64_t Head::sums_of_span(const ChannelSteps &steps, const ChannelParts &parts) {
    return steps.sums() * parts.map_tiles + 2 * int64_t(steps.squares);
}

Tokens Head::tokens_of(const Tensor &tensor, const TokenRange &range) const {
    return {context_, parts_.converter, tensor, call_.channels_first, b_, h_, range};
}

int Head::sum_tokens(int64_t task) const {
    const int64_t of_span = sums_of_span(steps_, parts_), span = task / of_span;
    const int64_t first = call_.n * span / parts_.spans, tokens = call_.n * (span + 1) / parts_.spans - first;
    int64_t sum = task % of_span;
    if (steps_.map) {
        if (sum < parts_.map_tiles) {
            return sum_products(false, sum, span, first, tokens);
        }
        sum -= parts_.map_tiles;
    }
    if (steps_.squares) {
        if (sum < 2) {
            return sum_squares(int(sum), span, first, tokens);
        }
        sum -= 2;
    }
    return sum_products(true, sum, span, first, tokens);
}

int Head::sum_squares(int of_k, int64_t span, int64_t first, int64_t tokens) const {
    float *const out = maps_.square_parts[of_k] + span * parts_.padded;
    if (tokens == 0) {
        std::fill_n(out, call_.d, 0.0f);
        return 0;
    }
    Tokens x = tokens_of(of_k ? call_.k : call_.q, {first, tokens, 0, call_.d});
    if (const int error = x.read()) {
        return error;
    }
    TaskArguments arguments(context_);
    x.bind(arguments);
    arguments.array(out, {{call_.d, 1}});
    return arguments.run(*parts_.squares);
}

int Head::sum_products(bool d_map, int64_t tile, int64_t span, int64_t first, int64_t tokens) const {
    const Tensor &of_caller = d_map ? call_.d_attention_map : call_.map;
    // The caller's maps have columns in the lanes, ours rows.
    const Tensor &rows = d_map ? call_.d_out : call_.q, &columns = d_map ? call_.v : call_.k;
    const Tensor &x = of_caller.given ? columns : rows, &y = of_caller.given ? rows : columns;
    const bool last = tile + 1 == parts_.map_tiles;
    const int64_t channel = tile * parts_.map_tile, channels = last ? call_.d - channel : parts_.map_tile;
    const int64_t with_padding = last && !of_caller.given ? parts_.padded - channel : channels;
    Matrix out{d_map ? maps_.m : maps_.s, parts_.map_row};
    if (parts_.spans > 1) {
        out.data = (d_map ? maps_.m_parts : maps_.s_parts) + span * parts_.map_floats(call_.d);
    } else if (of_caller.given) {
        out = map_of(of_caller, b_, h_);
    }
    out.data += channel;
    if (tokens == 0) {
        for (int64_t j = 0; j < call_.d; j++) {
            std::fill_n(out.data + j * out.stride, with_padding, 0.0f);
        }
        return 0;
    }
    Tokens of_x = tokens_of(x, {first, tokens, channel, channels}), of_y = tokens_of(y, {first, tokens, 0, call_.d});
    for (Tokens *read : {&of_x, &of_y}) {
        if (const int error = read->read()) {
            return error;
        }
    }
    TaskArguments arguments(context_);
    of_x.bind(arguments);
    of_y.bind(arguments);
    arguments.number(int32_t(with_padding));
    arguments.array(out.data, {{with_padding, 1}, {call_.d, out.stride}});
    return arguments.run(*parts_.map);
}

// The parts of spans are added up in order: squares, or some rows of a map.
int Head::add_spans(int64_t task) const {
    if (task == 0) {
        const Tensor *const given[] = {&call_.q_squares, &call_.k_squares};
        for (int which = 0; which < 2; which++) {
            float *const squares = maps_.squares[which];
            std::fill_n(squares, parts_.padded, 1.0f);
            const Tensor &of_caller = *given[which];
            const int64_t *strides = of_caller.tensor.strides;
            float *const place = of_caller.given ? head_of(of_caller, b_, h_) : nullptr;
            for (int64_t i = 0; i < call_.d && steps_.squares; i++) {
                float sum = 0;
                for (int64_t span = 0; span < parts_.spans; span++) {
                    sum += maps_.square_parts[which][span * parts_.padded + i];
                }
                squares[i] = sum;
                if (place != nullptr) {
                    place[i * strides[2]] = sum;
                }
            }
            for (int64_t i = 0; i < call_.d && place != nullptr && !steps_.squares; i++) {
                squares[i] = place[i * strides[2]];
            }
        }
        return 0;
    }
    const int64_t of_map = (call_.d + kRowsToAdd - 1) / kRowsToAdd;
    const bool d_map = !steps_.map || (task - 1) / of_map == 1;
    const Tensor &of_caller = d_map ? call_.d_attention_map : call_.map;
    const Matrix out = of_caller.given ? map_of(of_caller, b_, h_) : Matrix{d_map ? maps_.m : maps_.s, parts_.map_row};
    const int64_t row = (task - 1) % of_map * kRowsToAdd, end = std::min(row + kRowsToAdd, call_.d);
    const int64_t length = of_caller.given ? call_.d : parts_.padded;
    const float *of_spans = d_map ? maps_.m_parts : maps_.s_parts;
    for (int64_t j = row; j < end; j++) {
        float *const sum = out.data + j * out.stride;
        std::copy_n(of_spans + j * parts_.map_row, length, sum);
        for (int64_t span = 1; span < parts_.spans; span++) {
            const float *const part = of_spans + span * parts_.map_floats(call_.d) + j * parts_.map_row;
            for (int64_t i = 0; i < length; i++) {
                sum[i] += part[i];
            }
        }
    }
    return 0;
}

// A tile of tokens of an output.
int Head::multiply_tokens(int64_t task) const {
    struct Product {
        const Tensor &out, &x, &z;
        const float *w, *c;
        float factor;
        bool wanted;
    };
    const float scale = call_.scale.at(h_), multiplier = call_.output_multiplier;
    const Product products[] = {
        {call_.out, call_.v, call_.v, maps_.a, nullptr, multiplier, steps_.out},
        {call_.d_q, call_.k, call_.q, maps_.w, maps_.c_q, scale, steps_.d_q},
        {call_.d_k, call_.q, call_.k, maps_.m, maps_.c_k, scale, steps_.d_k},
        {call_.d_v, call_.d_out, call_.d_out, maps_.s, nullptr, multiplier, steps_.d_v},
    };
    // The products of a tile after one another: they share tokens.
    int64_t skip = task % steps_.products();
    const Product *product = products;
    while (!product->wanted || skip > 0) {
        skip -= product->wanted;
        product++;
    }
    const int64_t tile = task / steps_.products(), group = parts_.token_group, groups = (call_.n + group - 1) / group;
    const auto begin = [&](int64_t of) { return std::min(groups * of / parts_.token_tiles * group, call_.n); };
    const TokenRange range{begin(tile), begin(tile + 1) - begin(tile), 0, call_.d};
    const bool adds_z = call_.normalize && product->c != nullptr;
    Tokens x = tokens_of(product->x, range), z = tokens_of(product->z, range), out = tokens_of(product->out, range);
    int error = x.read();
    error = error != 0 || !adds_z ? error : z.read();
    error = error != 0 ? error : out.open();
    if (error != 0) {
        return error;
    }
    TaskArguments arguments(context_);
    arguments.array(product->w, {{parts_.padded, 1}, {call_.d, parts_.map_row}});
    x.bind(arguments);
    (adds_z ? z : x).bind(arguments);
    arguments.array(adds_z ? product->c : product->w, {{call_.d, 1}});
    arguments.number(int32_t(adds_z));
    arguments.number(product->factor);
    out.bind(arguments);
    error = arguments.run(*parts_.product);
    return error != 0 ? error : out.write();
}

}  // namespace muattn
