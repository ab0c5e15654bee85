// muattn_spatial_attention_forward: check, choose a kernel, bind, run.
#include "schedules/spatial_attention_schedule.h"

#include <algorithm>
#include <cstring>

#include "call.h"
#include "error.h"
#include "tensor.h"

namespace muattn {
namespace {

struct SpatialCall {
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}}, lse{"lse", MUATTN_INVALID_LSE, {}};
    bool with_lse = false;
    int64_t B = 0, H = 0, Hk = 0, n_q = 0, n_k = 0, d = 0, d_v = 0;
    // Query i sees key j if window_first <= j - i < window_last.
    int32_t window_first = 0, window_last = 0;
};

muattn_status check_tensors(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                            const muattn_tensor *out, const muattn_tensor *lse) {
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out));
    call.B = call.q.size(0), call.H = call.q.size(1), call.n_q = call.q.size(2), call.d = call.q.size(3);
    call.Hk = call.k.size(1), call.n_k = call.k.size(2), call.d_v = call.v.size(3);
    if (call.d > MUATTN_MAX_D) {
        return fail(MUATTN_INVALID_Q, "q.shape[3] (d) must be at most %d, not %lld", MUATTN_MAX_D, static_cast<long long>(call.d));
    }
    MUATTN_RETURN_IF_ERROR(check_size(call.k, 0, "B", call.B, "must equal q's"));
    if (call.H % call.Hk != 0) {
        return fail(MUATTN_INVALID_K, "k.shape[1] (Hk) must divide q's number of heads %lld, not be %lld",
                    static_cast<long long>(call.H), static_cast<long long>(call.Hk));
    }
    MUATTN_RETURN_IF_ERROR(check_size(call.k, 3, "d", call.d, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 1, "Hk", call.Hk, "must equal k's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 2, "n_k", call.n_k, "must equal k's"));
    if (call.d_v > MUATTN_MAX_D) {
        return fail(MUATTN_INVALID_V, "v.shape[3] (d_v) must be at most %d, not %lld", MUATTN_MAX_D, static_cast<long long>(call.d_v));
    }
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 1, "H", call.H, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 2, "n_q", call.n_q, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 3, "d_v", call.d_v, "must equal v's"));
    const Argument *const others[] = {&call.q, &call.k, &call.v, &call.out};
    MUATTN_RETURN_IF_ERROR(check_output(call.out, others, 3));
    call.with_lse = lse != nullptr;
    if (call.with_lse) {
        MUATTN_RETURN_IF_ERROR(check_tensor(call.lse, lse, true));
        MUATTN_RETURN_IF_ERROR(check_size(call.lse, 0, "B", call.B, "must equal q's"));
        MUATTN_RETURN_IF_ERROR(check_size(call.lse, 1, "H", call.H, "must equal q's"));
        MUATTN_RETURN_IF_ERROR(check_size(call.lse, 2, "n_q", call.n_q, "must equal q's"));
        MUATTN_RETURN_IF_ERROR(check_size(call.lse, 3, "one per row", 1, "must be"));
        MUATTN_RETURN_IF_ERROR(check_output(call.lse, others, 4));
    }
    return MUATTN_OK;
}

// causal and window, as the interval of j - i that a query sees. Every j - i lies strictly between -n_q and n_k, so the ends
// are cut to these. Wide: an offset far outside may be balanced by a window that reaches as far back.
muattn_status resolve_visibility(SpatialCall &call, const muattn_spatial_options &options) {
    using Wide = __int128;
    Wide offset = 0;
    switch (options.causal) {
    case MUATTN_CAUSAL_NONE:
    case MUATTN_CAUSAL_TOP_LEFT: break;
    case MUATTN_CAUSAL_BOTTOM_RIGHT: offset = call.n_k - call.n_q; break;
    case MUATTN_CAUSAL_OFFSET: offset = options.causal_offset; break;
    default: return fail(MUATTN_INVALID_CAUSAL, "causal: %d is no alignment", int(options.causal));
    }
    const Wide open_first = -call.n_q, open_last = call.n_k;
    Wide first = open_first, last = options.causal == MUATTN_CAUSAL_NONE ? open_last : offset + 1;
    if (options.window.enabled) {
        if (options.window.left >= 0) {
            first = offset - options.window.left;
        }
        if (options.window.right >= 0) {
            last = std::min(last, offset + options.window.right + 1);
        }
    }
    call.window_first = int32_t(std::clamp(first, open_first, open_last));
    call.window_last = int32_t(std::clamp(last, open_first, open_last));
    return MUATTN_OK;
}

muattn_status check_key_lengths(const SpatialCall &call, const int64_t *key_lengths) {
    for (int64_t b = 0; key_lengths != nullptr && b < call.B; b++) {
        if (key_lengths[b] < 0 || key_lengths[b] > call.n_k) {
            return fail(MUATTN_INVALID_KEY_LENGTHS, "key_lengths[%lld] must lie in 0..n_k = %lld, not be %lld",
                        static_cast<long long>(b), static_cast<long long>(call.n_k), static_cast<long long>(key_lengths[b]));
        }
    }
    return MUATTN_OK;
}

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
    // Keys in [first, last) are seen by every query; each side of them is hidden from some.
    const int64_t first = std::max<int64_t>(0, call.n_q - 1 + call.window_first);
    const int64_t last = std::min<int64_t>(call.n_k, call.window_last);
    for (int64_t b = 0; b < call.B; b++) {
        const int64_t length = key_lengths != nullptr ? key_lengths[b] : call.n_k;
        for (int64_t h = 0; h < call.Hk; h++) {
            for (int64_t j = 0; j < length; j++) {
                if (j >= first && j < last) {
                    j = last - 1;
                    continue;
                }
                const int64_t *s = call.v.tensor.strides;
                if (any_not_finite(call.v.data() + b * s[0] + h * s[1] + j * s[2], call.d_v)) {
                    return true;
                }
            }
        }
    }
    return false;
}

muattn_status run(const SpatialCall &call, const muattn_spatial_options &options) {
    const bool guard = hidden_values_need_guard(call, options.key_lengths);
    const Kind kind = guard ? (call.with_lse ? Kind::guarded_lse : Kind::guarded) : (call.with_lse ? Kind::lse : Kind::plain);
    const Kernel *kernel = find_kernel(Operation::spatial_attention, Direction::forward, call.q.tensor.dtype, kind);
    if (kernel == nullptr) {
        return MUATTN_UNSUPPORTED;
    }
    auto schedule = schedule::SpatialAttentionSchedule::defaults(kernel->machine);
    schedule.override_with(kernel->parameters);

    double rule = 0;
    if (options.scale == nullptr) {
        MUATTN_RETURN_IF_ERROR(muattn_spatial_scale(options.scaling, call.d, options.d_base, &rule));
    }
    const float rule_scale = float(rule);
    const bool per_head = options.scale != nullptr && options.scale_count > 1;

    // Lengths as the kernel reads them: [B], or one number for all.
    constexpr int kInline = 64;
    int32_t few_lengths[kInline], *lengths = few_lengths;
    if (options.key_lengths != nullptr && call.B > kInline) {
        lengths = static_cast<int32_t *>(allocate(size_t(call.B) * sizeof(int32_t)));
        if (lengths == nullptr) {
            return fail(MUATTN_OUT_OF_MEMORY, "out of memory: key lengths of %lld batch entries", static_cast<long long>(call.B));
        }
    }
    lengths[0] = int32_t(call.n_k);
    for (int64_t b = 0; options.key_lengths != nullptr && b < call.B; b++) {
        lengths[b] = int32_t(options.key_lengths[b]);
    }

    BoundBuffer q, k, v, scale, key_lengths, out, lse;
    q.bind(call.q);
    k.bind(call.k);
    v.bind(call.v);
    scale.bind_vector(options.scale != nullptr ? options.scale : &rule_scale, halide_type_t(halide_type_float, 32), call.H, per_head);
    key_lengths.bind_vector(lengths, halide_type_t(halide_type_int, 32), call.B, options.key_lengths != nullptr);
    out.bind(call.out);
    if (call.with_lse) {
        lse.bind(call.lse);
        lse.dims[0] = halide_dimension_t(0, int32_t(call.d_v), 0);  // generators/spatial_attention.cpp says why
    }
    int32_t heads_per_kv = int32_t(call.H / call.Hk);
    int32_t window_first = call.window_first, window_last = call.window_last;
    void *arguments[] = {nullptr,        &q.buffer,    &k.buffer,    &v.buffer,   &scale.buffer, &key_lengths.buffer,
                         &heads_per_kv, &window_first, &window_last, &out.buffer, &lse.buffer};
    const int64_t tiles = (call.n_q + schedule.tile_rows() - 1) / schedule.tile_rows();
    const muattn_status status =
        run_kernel(*kernel, arguments, call.B * call.H * tiles, size_t(schedule.scratch_bytes(call.n_q, call.d, call.d_v, Slab::block_bytes)));
    if (lengths != few_lengths) {
        deallocate(lengths);
    }
    return status;
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
    MUATTN_RETURN_IF_ERROR(check_tensors(call, q, k, v, out, lse));
    MUATTN_RETURN_IF_ERROR(check_scale(o.scale, o.scale_count, call.H));
    MUATTN_RETURN_IF_ERROR(resolve_visibility(call, o));
    MUATTN_RETURN_IF_ERROR(check_key_lengths(call, o.key_lengths));
    return run(call, o);
}
