// One kernel call of a backward call: its arguments.
#include <cstring>

#include "backward_tasks.h"
#include "task_masks.h"

namespace muattn {

// The arguments in the order of generators/spatial_attention/key_blocks.cpp.
int BackwardTasks::call_kernel(const Map &map, const Part &part, const StripeRows &stripe, const SpanRows &span,
                               const Target &mask) {
    static const float zero = 0;
    const int64_t group = forward_.group(), h = map.h_kv * group, rows = part.end - part.begin,
                  skipped = part.begin - begin_, keys = part.keys, d = forward_.d, d_v = forward_.d_v;
    const VisibleKeys &visible = forward_.visible[map.b];
    const Target &d_q = stripe.d_q;
    float unwanted[MUATTN_MAX_D] = {};  // rows that nobody wants: all are this one
    TaskArguments arguments(tasks_.context());
    const auto queries = [&](const FloatRows &of, int64_t columns) {
        arguments.array(of.row(0, skipped), {{columns, 1}, {rows, of.row_stride()}, {group, of.head_stride()}, {1, 0}});
    };
    const auto of_span = [&](const FloatRows &of, int64_t columns, bool wanted) {
        arguments.array(wanted ? of.data() : unwanted,
                        {{columns, 1}, {keys, wanted ? of.row_stride() : 0}, {1, 0}, {1, 0}});
    };
    const auto numbers_of_rows = [&](const Argument &argument) {
        const int64_t *s = argument.tensor.strides;
        arguments.array(at(argument, map.b, h, part.begin), {{rows, s[2]}, {group, s[1]}});
    };
    queries(stripe.q, d);
    of_span(span.k, d, true);
    arguments.array(forward_.scale.values + (forward_.scale.differ ? h : 0), {{group, forward_.scale.differ}});
    arguments.number(forward_.softcap);
    bind_masks(arguments, forward_, {map.b, h, group, part.begin, rows, part.key, keys});
    of_span(span.v, d_v, true);
    queries(stripe.out, d_v);
    queries(stripe.d_out, d_v);
    numbers_of_rows(forward_.lse);
    if (call_.with_d_lse) {
        numbers_of_rows(call_.d_lse);
    } else {
        arguments.array(&zero, {{rows, 0}, {group, 0}});
    }
    arguments.array(d_q_scale_ + h, {{group, 1}});
    arguments.number(forward_.output_multiplier);
    const int64_t shift = part.begin - part.key;
    for (const int64_t number : {visible.window_first + shift, visible.window_last + shift,
                                 int64_t(d_q.data != nullptr), int64_t(call_.wants_k), int64_t(call_.wants_v)}) {
        arguments.number(int32_t(number));
    }
    arguments.array(d_q.data != nullptr ? d_q.data + skipped * d_q.row : unwanted,
                    {{d, 1}, {rows, d_q.row}, {group, d_q.head}, {1, 0}});
    of_span(span.d_k, d, call_.wants_k);
    of_span(span.d_v, d_v, call_.wants_v);
    return kernel_.features.d_mask ? run_with_mask(arguments, part, mask) : arguments.run(kernel_);
}

// With the last argument, for d_mask: vectors of keys, queries, heads.
int BackwardTasks::run_with_mask(TaskArguments &arguments, const Part &part, const Target &mask) const {
    if (call_.wants_mask && parts_.keys_share_mask) {
        return run_with_sums_over_keys(arguments, part, mask);
    }
    const int64_t lanes = schedule_.lanes, vectors = (part.keys + lanes - 1) / lanes, rows = part.end - part.begin;
    constexpr int kMostLanes = 64;
    float unwanted[kMostLanes] = {};
    float *first = unwanted;
    if (call_.wants_mask) {
        first = mask.data + (part.begin - begin_) * mask.row + (call_.d_mask.size(3) != 1 ? part.key : 0);
    }
    arguments.array(
        first, {{lanes, 1}, {vectors, call_.wants_mask ? lanes : 0}, {rows, mask.row}, {forward_.group(), mask.head}});
    return arguments.run(kernel_);
}

// Where d_mask is one for all keys, the kernel has a row for each, and these are added up.
int BackwardTasks::run_with_sums_over_keys(TaskArguments &arguments, const Part &part, const Target &mask) const {
    const int64_t lanes = schedule_.lanes, vectors = (part.keys + lanes - 1) / lanes, rows = part.end - part.begin;
    const int64_t mask_rows = mask.row != 0 ? rows : 1, heads = mask.head != 0 ? forward_.group() : 1, keys = part.keys;
    const size_t bytes = size_t(keys * mask_rows * heads) * sizeof(float);
    auto *sums = static_cast<float *>(current_slab->push(bytes));
    memset(sums, 0, bytes);
    arguments.array(sums, {{lanes, 1},
                           {vectors, lanes},
                           {rows, mask.row != 0 ? keys : 0},
                           {forward_.group(), mask.head != 0 ? keys * mask_rows : 0}});
    const int error = arguments.run(kernel_);
    for (int64_t g = 0; g < heads; g++) {
        for (int64_t i = 0; i < mask_rows; i++) {
            double sum = 0;
            for (int64_t j = 0; j < keys; j++) {
                sum += double(sums[(g * mask_rows + i) * keys + j]);
            }
            mask.data[g * mask.head + (part.begin - begin_ + i) * mask.row] += float(sum);
        }
    }
    current_slab->pop(sums);
    return error;
}

}  // namespace muattn
