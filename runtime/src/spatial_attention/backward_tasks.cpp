#include "backward_tasks.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace muattn {
namespace {

void clear_rows(float *data, int64_t row_stride, int64_t rows, int64_t columns) {
    for (int64_t i = 0; i < rows; i++) {
        memset(data + i * row_stride, 0, size_t(columns) * sizeof(float));
    }
}

}  // namespace

void clear(const Argument &gradient) {
    for (int64_t b = 0; b < gradient.size(0); b++) {
        for (int64_t h = 0; h < gradient.size(1); h++) {
            for (int64_t i = 0; i < gradient.size(2); i++) {  // no bits are 0 in every type
                memset(gradient.row(b, h, i), 0, size_t(gradient.size(3)) * gradient.element_bytes());
            }
        }
    }
}

namespace {

// Of n products, those with a 0 in b left out, whatever a has there. In eight sums, so that a compiler may use vectors.
double dot(const float *a, const float *b, int64_t n) {
    constexpr int kSums = 8;
    float sums[kSums] = {};
    int64_t i = 0;
    for (; i + kSums <= n; i += kSums) {
        for (int lane = 0; lane < kSums; lane++) {
            sums[lane] += b[i + lane] != 0 ? a[i + lane] * b[i + lane] : 0.0f;
        }
    }
    double sum = 0;
    for (const float part : sums) {
        sum += double(part);
    }
    for (; i < n; i++) {
        sum += b[i] != 0 ? double(a[i]) * double(b[i]) : 0;
    }
    return sum;
}

}  // namespace

// Of float32 copies.
int64_t BackwardTasks::copies_of_task(int64_t rows, int64_t keys) const {
    const int64_t d = forward_.d, d_v = forward_.d_v;
    int64_t bytes = FloatRows::scratch_bytes(forward_.q, rows, d) +
                    2 * FloatRows::scratch_bytes(forward_.out, rows, d_v) +
                    FloatRows::scratch_bytes(forward_.k, keys, d) + FloatRows::scratch_bytes(forward_.v, keys, d_v);
    if (parts_.rounded_in_task) {
        bytes += FloatRows::scratch_bytes(forward_.q, rows, d);
    }
    if (one_stripe()) {  // d_k, d_v
        bytes += FloatRows::scratch_bytes(forward_.k, keys, d) + FloatRows::scratch_bytes(forward_.v, keys, d_v);
    }
    return bytes;
}

muattn_status BackwardTasks::reserve() {
    const int64_t group = forward_.group(), rows = std::min(parts_.stripe, std::max<int64_t>(forward_.n_q, 1)),
                  keys = std::min(parts_.span, std::max<int64_t>(forward_.n_k, 1));
    int64_t scratch = schedule_.scratch_bytes(group, rows, keys, forward_.d, forward_.d_v, Slab::block_bytes);
    scratch += copies_of_task(rows * group, keys);
    if (parts_.keys_share_mask) {
        scratch += Slab::block_bytes(int64_t(sizeof(float)) * keys * rows * group);
    }
    const int64_t partial_q = parts_.partial_q * maps() * group * rows * forward_.d,
                  partial_mask = (parts_.parts - 1) * parts_.chains() * parts_.mask_elements,
                  floats_of_sums = int64_t(sizeof(Sums) / sizeof(float)),
                  chunk_sums = sums_rows() ? floats_of_sums * maps() * BackwardParts::chunks(rows) * group : 0,
                  sums = floats_of_sums * forward_.H;
    const bool with_sums = of_kv_.round != nullptr && !one_stripe();
    const int64_t all_keys = with_sums ? maps() * forward_.n_k : 0, sums_k = call_.wants_k ? all_keys * forward_.d : 0,
                  sums_v = call_.wants_v ? all_keys * forward_.d_v : 0;
    int64_t shared = 0;
    for (const int64_t floats : {partial_q, partial_mask, chunk_sums, sums, forward_.H, sums_k, sums_v}) {
        shared += Slab::block_bytes(floats * int64_t(sizeof(float)));
    }
    MUATTN_RETURN_IF_ERROR(tasks_.reserve(parts_.tasks(), scratch, shared));
    partial_q_ = tasks_.shared(partial_q);
    partial_mask_ = tasks_.shared(partial_mask);
    chunk_sums_ = reinterpret_cast<Sums *>(tasks_.shared(chunk_sums));
    sums_ = reinterpret_cast<Sums *>(tasks_.shared(sums));
    d_q_scale_ = tasks_.shared(forward_.H);
    sums_k_ = with_sums ? tasks_.shared(sums_k) : nullptr;
    sums_v_ = with_sums ? tasks_.shared(sums_v) : nullptr;
    std::fill_n(sums_, forward_.H, Sums{});
    for (int64_t h = 0; h < forward_.H; h++) {
        // d_scale is a sum of q d_q / scale: with a scale of 0, or near the ends of what a float can be, d_q is multiplied with it after that.
        constexpr float kLeast = 1e-15f, kMost = 1e15f;
        const float scale = forward_.scale.at(h), size = std::fabs(scale);
        d_q_scale_[h] = call_.d_scale != nullptr && !(size >= kLeast && size <= kMost) ? 1 : scale;
    }
    return MUATTN_OK;
}

muattn_status BackwardTasks::run(int backend) {
    MUATTN_RETURN_IF_ERROR(find_converter(backend, forward_.q, &of_q_));
    MUATTN_RETURN_IF_ERROR(find_converter(backend, forward_.k, &of_kv_));
    MUATTN_RETURN_IF_ERROR(reserve());
    clear_mask();
    const int64_t n_q = forward_.n_q, rows = std::max<int64_t>(parts_.stripe, 1);
    // Once at least: a call without queries has gradients by keys.
    for (begin_ = 0; begin_ == 0 || begin_ < n_q; begin_ += rows) {
        end_ = std::min(begin_ + rows, n_q);
        if (needs_kernels()) {
            tasks_.run(parts_.tasks(), [this](int64_t index) { return do_task(index); });
        }
        if (parts_.partial_q > 0 || sums_rows()) {
            tasks_.run(maps() * BackwardParts::chunks(rows_of_stripe()),
                       [this](int64_t index) { return do_chunk(index); });
            add_sums();
        }
    }
    add_mask_parts();
    MUATTN_RETURN_IF_ERROR(tasks_.status(kernel_));
    double of_multiplier = 0;
    for (int64_t h = 0; h < forward_.H; h++) {
        if (call_.d_scale != nullptr) {
            call_.d_scale[h] = float(sums_[h].scale / double(d_q_scale_[h]));
        }
        if (call_.d_sink != nullptr) {
            call_.d_sink[h] = float(sums_[h].sink);
        }
        of_multiplier += sums_[h].multiplier;
    }
    if (call_.d_output_multiplier != nullptr) {
        *call_.d_output_multiplier = float(of_multiplier / double(forward_.output_multiplier));
    }
    remember_kernel(kernel_);
    return MUATTN_OK;
}

void BackwardTasks::clear_mask() {
    if (call_.wants_mask) {
        std::fill_n(partial_mask_, (parts_.parts - 1) * parts_.chains() * parts_.mask_elements, 0.0f);
        clear(call_.d_mask);
    }
}

BackwardTasks::Map BackwardTasks::map_of(int64_t chain, int64_t of_chain) const {
    const int64_t heads_of_chain = forward_.Hk / parts_.chains_of_heads;
    return {parts_.chains_of_batch == 1 ? of_chain / heads_of_chain : chain / parts_.chains_of_heads,
            parts_.chains_of_heads == 1 ? of_chain % heads_of_chain : chain % parts_.chains_of_heads};
}

// Shares outermost: with a causal mask the first keys are seen by the most queries.
int BackwardTasks::do_task(int64_t index) {
    const int64_t chain = index % parts_.chains(), part = index / parts_.chains() % parts_.parts,
                  share = index / parts_.chains() / parts_.parts, of_chain = maps() / parts_.chains();
    const Target mask = call_.wants_mask ? mask_gradient(chain, part) : Target{};
    for (int64_t i = parts_.first_map(part, of_chain); i < parts_.first_map(part + 1, of_chain); i++) {
        if (const int error = do_map(map_of(chain, i), share, mask)) {
            return error;
        }
    }
    return 0;
}

BackwardTasks::Target BackwardTasks::query_gradient(const Map &map, int64_t share) const {
    const int64_t d = forward_.d, group = forward_.group();
    const int64_t in_scratch = share - (call_.wants_q && !parts_.first_in_scratch ? 1 : 0);
    if (in_scratch < 0 && !parts_.rounded_in_task) {
        return {at(call_.d_q, map.b, map.h_kv * group, begin_), call_.d_q.tensor.strides[2],
                call_.d_q.tensor.strides[1]};
    }
    if (parts_.partial_q == 0) {  // nobody wants it, or it is in the task
        return {};
    }
    const int64_t place = (map.b * forward_.Hk + map.h_kv) * parts_.partial_q + in_scratch, head = rows_of_stripe() * d;
    return {partial_q_ + place * group * head, d, head};
}

// Of the stripe's first query and key 0. Where elements are one, strides are 0.
BackwardTasks::Target BackwardTasks::mask_gradient(int64_t chain, int64_t part) const {
    const Argument &mask = call_.d_mask;
    const int64_t rows = mask.size(2), keys = mask.size(3), first_row = rows != 1 ? begin_ : 0;
    if (part > 0) {
        const int64_t place = (chain * (parts_.parts - 1) + part - 1) * parts_.mask_elements;
        return {partial_mask_ + place + first_row * keys, rows != 1 ? keys : 0, mask.size(1) != 1 ? rows * keys : 0};
    }
    const int64_t b = chain / parts_.chains_of_heads, h = chain % parts_.chains_of_heads * forward_.group();
    return {at(mask, b, mask.size(1) != 1 ? h : 0, first_row), mask.tensor.strides[2], mask.tensor.strides[1]};
}

FloatRows BackwardTasks::of_queries(const Argument &argument, const Map &map) {
    const int64_t group = forward_.group();
    return {tasks_.context(), of_q_, rows_of(argument, map.b, map.h_kv * group, group, begin_, rows_of_stripe())};
}

FloatRows BackwardTasks::of_keys(const Argument &argument, bool wanted, const Map &map, int64_t key, int64_t keys,
                                 float *sums) {
    static const Converter none;
    if (!wanted) {
        return {tasks_.context(), none, Rows{}};
    }
    return {tasks_.context(), of_kv_, rows_of(argument, map.b, map.h_kv, 1, key, keys), sums};
}

int BackwardTasks::do_map(const Map &map, int64_t share, const Target &mask) {
    StripeRows stripe{of_queries(forward_.q, map), of_queries(forward_.out, map), of_queries(call_.d_out, map), {}};
    for (FloatRows *rows : {&stripe.q, &stripe.out, &stripe.d_out}) {
        if (const int error = rows->read()) {
            return error;
        }
    }
    if (!parts_.rounded_in_task) {
        stripe.d_q = query_gradient(map, share);
        return do_spans(map, share, stripe, mask);
    }
    FloatRows d_q = of_queries(call_.d_q, map);
    int error = d_q.open();
    if (error != 0) {
        return error;
    }
    stripe.d_q = {d_q.data(), d_q.row_stride(), d_q.head_stride()};
    error = do_spans(map, share, stripe, mask);
    return error != 0 ? error : d_q.write();
}

int BackwardTasks::do_spans(const Map &map, int64_t share, const StripeRows &stripe, const Target &mask) {
    const Target &d_q = stripe.d_q;
    for (int64_t g = 0; d_q.data != nullptr && g < forward_.group(); g++) {
        clear_rows(d_q.data + g * d_q.head, d_q.row, rows_of_stripe(), forward_.d);
    }
    for (int64_t span = parts_.first_span(share); span < parts_.first_span(share + 1); span++) {
        if (const int error = do_span(map, span, stripe, mask)) {
            return error;
        }
    }
    return 0;
}

int BackwardTasks::do_span(const Map &map, int64_t span, const StripeRows &stripe, const Target &mask) {
    const VisibleKeys &visible = forward_.visible[map.b];
    const int64_t key = span * parts_.span, after = std::min(key + parts_.span, forward_.n_k),
                  place = (map.b * forward_.Hk + map.h_kv) * forward_.n_k + key;
    const int64_t end = std::clamp<int64_t>(visible.key_length, key, after);
    SpanRows rows{of_keys(forward_.k, true, map, key, end - key), of_keys(forward_.v, true, map, key, end - key),
                  of_keys(call_.d_k, call_.wants_k, map, key, after - key,
                          sums_k_ != nullptr ? sums_k_ + place * forward_.d : nullptr),
                  of_keys(call_.d_v, call_.wants_v, map, key, after - key,
                          sums_v_ != nullptr ? sums_v_ + place * forward_.d_v : nullptr)};
    int error = 0;
    for (FloatRows *gradient : {&rows.d_k, &rows.d_v}) {
        error = error != 0 ? error : gradient->open();
        if (error == 0 && begin_ == 0) {
            gradient->clear();
        }
    }
    const Part part{key, end - key, std::max<int64_t>(begin_, key - visible.window_last + 1),
                    std::min<int64_t>(end_, end - visible.window_first)};
    if (error == 0 && part.keys > 0 && part.begin < part.end) {
        error = rows.k.read();
        error = error != 0 ? error : rows.v.read();
        error = error != 0 ? error : call_kernel(map, part, stripe, rows, mask);
    }
    for (FloatRows *gradient : {&rows.d_k, &rows.d_v}) {
        if (error == 0 && end_ == forward_.n_q) {
            error = gradient->write();
        }
    }
    return error;
}

// A chunk of the stripe's rows, of all heads of a map: their d_q of all shares becomes one, and their parts of d_scale, d_sink and
// d_output_multiplier are summed.
int BackwardTasks::do_chunk(int64_t index) {
    const int64_t chunks = BackwardParts::chunks(rows_of_stripe()), map_index = index / chunks,
                  row = index % chunks * BackwardParts::kChunk;
    const int64_t rows = std::min(BackwardParts::kChunk, rows_of_stripe() - row), d = forward_.d,
                  group = forward_.group();
    const Map map{map_index / forward_.Hk, map_index % forward_.Hk};
    const Target sum = query_gradient(map, 0);
    for (int64_t g = 0; g < group; g++) {
        for (int64_t share = 1; sum.data != nullptr && share < parts_.shares; share++) {
            const Target part = query_gradient(map, share);
            for (int64_t i = row; i < row + rows; i++) {
                float *to = sum.data + g * sum.head + i * sum.row;
                const float *from = part.data + g * part.head + i * part.row;
                for (int64_t e = 0; e < d; e++) {
                    to[e] += from[e];
                }
            }
        }
        const int64_t h = map.h_kv * group + g;
        if (sums_rows()) {
            if (const int error = sum_rows(chunk_sums_[index * group + g], map, h, row, rows, sum)) {
                return error;
            }
        }
        const float scale = forward_.scale.at(h);
        for (int64_t i = row; call_.wants_q && scale != d_q_scale_[h] && i < row + rows; i++) {
            float *of_row = sum.data + g * sum.head + i * sum.row;
            std::transform(of_row, of_row + d, of_row, [&](float x) { return x * scale; });
        }
    }
    if (!call_.wants_q || of_q_.round == nullptr || parts_.rounded_in_task) {
        return 0;
    }
    const Rows floats{sum.data + row * sum.row, MUATTN_FLOAT32, d, rows, group, sum.row, sum.head};
    return convert(tasks_.context(), *of_q_.round, floats,
                   rows_of(call_.d_q, map.b, map.h_kv * group, group, begin_ + row, rows));
}

int BackwardTasks::sum_rows(Sums &sums, const Map &map, int64_t h, int64_t row, int64_t rows, const Target &d_q) {
    const auto of_head = [&](const Argument &argument) {
        return FloatRows(tasks_.context(), of_q_, rows_of(argument, map.b, h, 1, begin_ + row, rows));
    };
    sums = {};
    if (call_.d_scale != nullptr) {
        FloatRows q = of_head(forward_.q);
        if (const int error = q.read()) {
            return error;
        }
        for (int64_t i = 0; i < rows; i++) {
            const float *of_row = d_q.data + h % forward_.group() * d_q.head + (row + i) * d_q.row;
            sums.scale += dot(q.row(0, i), of_row, forward_.d);
        }
    }
    if (call_.d_sink == nullptr && call_.d_output_multiplier == nullptr) {
        return 0;
    }
    FloatRows out = of_head(forward_.out), d_out = of_head(call_.d_out);
    for (FloatRows *rows_of_head : {&out, &d_out}) {
        if (const int error = rows_of_head->read()) {
            return error;
        }
    }
    sums.sink = call_.d_sink != nullptr ? sink_sum(map.b, h, row, rows, out, d_out) : 0;
    sums.multiplier = call_.d_output_multiplier != nullptr ? multiplier_sum(map.b, h, row, rows, out, d_out) : 0;
    return 0;
}

double BackwardTasks::sink_sum(int64_t b, int64_t h, int64_t row, int64_t rows, const FloatRows &out,
                               const FloatRows &d_out) const {
    const double sink = double(forward_.sink.values[h]);
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) {
        const int64_t query = begin_ + row + i;
        const double D = dot(out.row(0, i), d_out.row(0, i), forward_.d_v),
                     d_lse = call_.with_d_lse ? double(*at(call_.d_lse, b, h, query)) : 0,
                     lse = double(*at(forward_.lse, b, h, query));
        const bool counts = sink > -HUGE_VAL && lse > -HUGE_VAL;
        sum += counts || std::isnan(lse) ? std::exp(sink - lse) * (d_lse - D) : 0;
    }
    return sum;
}

// d_out . out: the multiplier times its gradient. Where a query sees no key it does not depend on out.
double BackwardTasks::multiplier_sum(int64_t b, int64_t h, int64_t row, int64_t rows, const FloatRows &out,
                                     const FloatRows &d_out) const {
    double sum = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (!(double(*at(forward_.lse, b, h, begin_ + row + i)) == -HUGE_VAL)) {
            sum += dot(d_out.row(0, i), out.row(0, i), forward_.d_v);
        }
    }
    return sum;
}

void BackwardTasks::add_sums() {
    if (!sums_rows()) {
        return;
    }
    const int64_t chunks = BackwardParts::chunks(rows_of_stripe()), group = forward_.group();
    for (int64_t i = 0; i < maps() * chunks; i++) {
        for (int64_t g = 0; g < group; g++) {
            const int64_t h = i / chunks % forward_.Hk * group + g;
            const Sums &chunk = chunk_sums_[i * group + g];
            sums_[h].scale += chunk.scale;
            sums_[h].sink += chunk.sink;
            sums_[h].multiplier += chunk.multiplier;
        }
    }
}

void BackwardTasks::add_mask_parts() {
    begin_ = 0;
    for (int64_t chain = 0; parts_.parts > 1 && chain < parts_.chains(); chain++) {
        const Target sum = mask_gradient(chain, 0);
        const Argument &mask = call_.d_mask;
        const int64_t heads = mask.size(1) != 1 ? forward_.group() : 1, keys = mask.size(3);
        for (int64_t part = 1; part < parts_.parts; part++) {
            const Target from = mask_gradient(chain, part);
            for (int64_t row = 0; row < heads * mask.size(2); row++) {
                const int64_t g = row / mask.size(2), i = row % mask.size(2);
                for (int64_t j = 0; j < keys; j++) {
                    sum.data[g * sum.head + i * sum.row + j] += from.data[g * from.head + i * from.row + j];
                }
            }
        }
    }
}

}  // namespace muattn
