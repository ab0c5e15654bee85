// muattn_spatial_attention_forward: check, choose a kernel, bind, run.
#include <algorithm>
#include <cstring>

#include "call.h"
#include "error.h"
#include "gpu/operations.h"
#include "key_lengths.h"
#include "schedules/spatial_attention_schedule.h"
#include "schedules/spatial_attention_short_schedule.h"
#include "schedules/spatial_attention_split_schedule.h"
#include "spatial_call.h"

namespace muattn {
namespace {

bool any_not_finite(const float *x, int64_t count) {
    uint32_t any = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        any |= uint32_t((bits & 0x7f800000u) == 0x7f800000u);
    }
    return any != 0;
}

// Whether a value that is hidden from some query is NaN or infinite: 0 times it would reach that query's row.
bool hidden_values_need_guard(const SpatialCall &call, const int64_t *key_lengths) {
    // Keys in [first, last) are seen by every query; each side of them is hidden from some. A mask may hide any.
    const int64_t first = call.with_mask ? 0 : std::max<int64_t>(0, call.n_q - 1 + call.window_first);
    const int64_t last = call.with_mask ? 0 : std::min<int64_t>(call.n_k, call.window_last);
    const int64_t *s = call.v.tensor.strides;
    const auto any_in = [&](const float *head, int64_t begin, int64_t end) {
        if (s[2] == call.d_v && begin < end) {
            return any_not_finite(head + begin * call.d_v, (end - begin) * call.d_v);
        }
        for (int64_t j = begin; j < end; j++) {
            if (any_not_finite(head + j * s[2], call.d_v)) {
                return true;
            }
        }
        return false;
    };
    for (int64_t b = 0; b < call.B; b++) {
        const int64_t length = key_lengths != nullptr ? key_lengths[b] : call.n_k;
        for (int64_t h = 0; h < call.Hk; h++) {
            const float *head = call.v.data() + b * s[0] + h * s[1];
            if (any_in(head, 0, std::min(first, length)) || any_in(head, std::max(first, last), length)) {
                return true;
            }
        }
    }
    return false;
}

static_assert(int(Kind::lse) == int(Kind::plain) + 1 && int(Kind::softcap) == int(Kind::plain) + 2 &&
              int(Kind::additive_softcap_lse) == int(Kind::additive) + 3 &&
              int(Kind::boolean_softcap_lse) == int(Kind::boolean) + 3 &&
              int(Kind::guarded_lse) == int(Kind::guarded) + 1 &&
              int(Kind::split_guarded_lse) == int(Kind::split) + 3 &&
              int(Kind::short_additive) == int(Kind::short_plain) + 2 &&
              int(Kind::short_boolean) == int(Kind::short_plain) + 4 &&
              int(Kind::short_boolean_lse) == int(Kind::short_boolean) + 1);

// How closely a kernel may fit a call. A smaller build may have only kernels that are for more calls.
enum class Fit {
    split,  // few queries, many keys
    few_keys,
    general,
    guarded,  // for all calls
};

// A kind by what the call asks for: the order of the enumerators in registry.h.
Kind kind_of(const SpatialCall &call, const muattn_spatial_options &options, Fit fit) {
    const int lse = call.with_lse;
    const bool softcap = options.softcap > 0;
    // Few rows to a key/value head leave most of a tile's lanes empty, and one task to each head: split the keys instead,
    // unless they are few as well.
    constexpr int64_t kFewRows = 32, kKeysPerQuery = 4;
    if (fit == Fit::split && call.n_q * (call.H / call.Hk) <= kFewRows && call.n_k >= kKeysPerQuery * call.n_q) {
        const bool guarded = call.with_mask || softcap || hidden_values_need_guard(call, options.key_lengths);
        return Kind(int(Kind::split) + 2 * guarded + lse);
    }
    if (fit == Fit::guarded || hidden_values_need_guard(call, options.key_lengths)) {
        return Kind(int(Kind::guarded) + lse);
    }
    const int mask = !call.with_mask ? 0 : call.mask.tensor.dtype == MUATTN_BOOL ? 2 : 1;
    // All logits of a row at once are faster while a block of them stays in cache; but they are computed for every key.
    constexpr int64_t kFewKeys = 512;
    const bool sees_all = call.window_first <= 1 - call.n_q && call.window_last >= call.n_k;
    if (fit <= Fit::few_keys && call.n_k <= kFewKeys && sees_all && options.key_lengths == nullptr && !softcap) {
        return Kind(int(Kind::short_plain) + 2 * mask + lse);
    }
    return Kind(int(Kind::plain) + 4 * mask + 2 * softcap + lse);
}

bool is_split(const Kernel &kernel) {
    return int(kernel.kind) >= int(Kind::split) && int(kernel.kind) <= int(Kind::split_guarded_lse);
}

bool is_short(const Kernel &kernel) {
    return int(kernel.kind) >= int(Kind::short_plain) && int(kernel.kind) <= int(Kind::short_boolean_lse);
}

template<typename Schedule>
Schedule schedule_of(const Kernel &kernel) {
    auto schedule = Schedule::defaults(kernel.machine);
    schedule.override_with(kernel.parameters);
    return schedule;
}

// Whether the general kernel is faster than that of few keys, for a call with many queries and no mask. The latter pads keys and columns to
// register tiles of vectors, the former queries to blocks, and keys and columns to a few. From 512 queries on the one with fewer
// products was faster by their ratio (Zen 5, AVX-512, 13 shapes), but for a sixteenth or so, which the general one spends on
// transposed copies and a running softmax. With a mask it would transpose that as well.
bool pads_less(const Kernel &general, const Kernel &few_keys, const SpatialCall &call) {
    constexpr double kShare = 1.0 / 16;
    const auto products = [&](const auto &schedule) {
        return double(schedule.products(call.n_q, call.n_k, call.d, call.d_v));
    };
    return products(schedule_of<schedule::SpatialAttentionSchedule>(general)) <
           (1 - kShare) * products(schedule_of<schedule::SpatialAttentionShortSchedule>(few_keys));
}

Work work_of(const SpatialCall &call, const Kernel &kernel) {
    if (is_short(kernel)) {
        const auto schedule = schedule_of<schedule::SpatialAttentionShortSchedule>(kernel);
        return {call.B * call.H * schedule.row_tiles(call.n_q),
                schedule.scratch_bytes(call.n_k, call.d, call.d_v, Slab::block_bytes)};
    }
    if (!is_split(kernel)) {
        const auto schedule = schedule_of<schedule::SpatialAttentionSchedule>(kernel);
        return {call.B * call.H * schedule.tiles(call.n_q),
                schedule.scratch_bytes(call.n_q, call.d, call.d_v, Slab::block_bytes)};
    }
    const auto schedule = schedule_of<schedule::SpatialAttentionSplitSchedule>(kernel);
    const int64_t rows = call.n_q * (call.H / call.Hk), maps = call.B * call.Hk;
    return {maps * schedule.spans(call.n_k), schedule.scratch_bytes(call.d, call.d_v, Slab::block_bytes),
            schedule.serial_bytes(maps, rows, call.n_k, call.d, call.d_v, Slab::block_bytes)};
}

muattn_status run(const SpatialCall &call, const muattn_spatial_options &options) {
    double rule = 0;
    MUATTN_RETURN_IF_ERROR(muattn_spatial_scale(options.scaling, call.d, options.d_base, &rule));
    const float rule_scale = float(rule);
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    if (device_of(backend) != MUATTN_CPU) {
        return gpu::run_spatial_attention(call, options, rule_scale, backend);
    }
    const bool per_head = options.scale != nullptr && options.scale_count > 1;
    const bool negative_strides = any_negative_stride({&call.q, &call.k, &call.v, &call.out}) ||
                                  (call.with_mask && any_negative_stride({&call.mask})) ||
                                  (call.with_lse && any_negative_stride({&call.lse}));
    const auto kernel_for = [&](Fit fit) {
        return find_kernel(backend, Operation::spatial_attention, Direction::forward, call.q.tensor.dtype,
                           kind_of(call, options, fit), negative_strides);
    };
    const Kernel *kernel = kernel_for(Fit::split);
    // Halide's buffers are below 2^31 bytes; with that many heads there is work for every thread without splitting keys.
    constexpr int64_t kMostSerialBytes = INT64_C(1) << 30;
    if (kernel != nullptr && is_split(*kernel) && work_of(call, *kernel).serial_bytes > kMostSerialBytes) {
        kernel = kernel_for(Fit::few_keys);
    }
    for (const Fit wider : {Fit::few_keys, Fit::general, Fit::guarded}) {
        kernel = kernel != nullptr ? kernel : kernel_for(wider);
    }
    constexpr int64_t kManyQueries = 512;  // with fewer, what pads_less() gains is not worth looking for
    if (kernel != nullptr && is_short(*kernel) && !call.with_mask && call.n_q >= kManyQueries) {
        const Kernel *general = kernel_for(Fit::general);
        kernel = general != nullptr && pads_less(*general, *kernel, call) ? general : kernel;
    }
    if (kernel == nullptr) {
        return no_kernel(backend);
    }
    KeyLengths lengths;
    MUATTN_RETURN_IF_ERROR(lengths.set(call, options.key_lengths));

    BoundBuffer q, k, v, scale, key_lengths, additive, boolean, out, lse;
    q.bind(call.q);
    k.bind(call.k);
    v.bind(call.v);
    scale.bind_vector(options.scale != nullptr ? options.scale : &rule_scale, halide_type_t(halide_type_float, 32),
                      call.H, per_head);
    key_lengths.bind_vector(lengths.data(), halide_type_t(halide_type_int, 32), call.B, options.key_lengths != nullptr);
    out.bind(call.out);
    if (call.with_lse) {
        lse.bind(call.lse);
        lse.dims[0] = halide_dimension_t(0, int32_t(call.d_v), 0);  // generators/spatial_attention.h says why
    }
    const bool is_boolean = call.with_mask && call.mask.tensor.dtype == MUATTN_BOOL;
    additive.bind(call.with_mask && !is_boolean ? call.mask : no_additive_mask());
    boolean.bind(is_boolean ? call.mask : no_boolean_mask());
    int32_t heads_per_kv = int32_t(call.H / call.Hk), window_first = call.window_first, window_last = call.window_last;
    float softcap = options.softcap;
    void *arguments[] = {nullptr,       &q.buffer,     &k.buffer,    &v.buffer, &scale.buffer,    &key_lengths.buffer,
                         &heads_per_kv, &window_first, &window_last, &softcap,  &additive.buffer, &boolean.buffer,
                         &out.buffer,   &lse.buffer};
    return run_kernel(*kernel, arguments, work_of(call, *kernel));
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_spatial_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_spatial_options *options,
                                                          const muattn_tensor *out, const muattn_tensor *lse) {
    using namespace muattn;
    static constexpr muattn_spatial_options kDefaults{};
    const muattn_spatial_options &o = options != nullptr ? *options : kDefaults;
    SpatialCall call;
    MUATTN_RETURN_IF_ERROR(check_spatial_call(call, q, k, v, o, out, lse));
    return run(call, o);
}
