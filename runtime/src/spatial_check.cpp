// The rules of muattn_spatial_attention_forward's arguments.
#include <algorithm>
#include <cmath>

#include "error.h"
#include "spatial_call.h"

namespace muattn {
namespace {

muattn_status check_tensors(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                            const muattn_tensor *out, const muattn_tensor *lse) {
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out));
    for (const Argument *other : {&call.k, &call.v, &call.out}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, call.q));
    }
    call.B = call.q.size(0), call.H = call.q.size(1), call.n_q = call.q.size(2), call.d = call.q.size(3);
    call.Hk = call.k.size(1), call.n_k = call.k.size(2), call.d_v = call.v.size(3);
    if (call.d > MUATTN_MAX_D) {
        return fail(MUATTN_INVALID_Q, "q.shape[3] (d) must be at most %d, not %lld", MUATTN_MAX_D,
                    static_cast<long long>(call.d));
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
        return fail(MUATTN_INVALID_V, "v.shape[3] (d_v) must be at most %d, not %lld", MUATTN_MAX_D,
                    static_cast<long long>(call.d_v));
    }
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 1, "H", call.H, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 2, "n_q", call.n_q, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 3, "d_v", call.d_v, "must equal v's"));
    const Argument *const others[] = {&call.q, &call.k, &call.v, &call.out};
    MUATTN_RETURN_IF_ERROR(check_output(call.out, others, 3));
    call.with_lse = lse != nullptr;
    if (call.with_lse) {
        MUATTN_RETURN_IF_ERROR(check_tensor(call.lse, lse, kAnyInnerStride));
        MUATTN_RETURN_IF_ERROR(check_device(call.lse, call.q));
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
                        static_cast<long long>(b), static_cast<long long>(call.n_k),
                        static_cast<long long>(key_lengths[b]));
        }
    }
    return MUATTN_OK;
}

muattn_status check_mask(SpatialCall &call, const muattn_tensor *mask) {
    call.with_mask = mask != nullptr;
    if (!call.with_mask) {
        return MUATTN_OK;
    }
    MUATTN_RETURN_IF_ERROR(check_tensor(call.mask, mask, kMaskRules));
    MUATTN_RETURN_IF_ERROR(check_device(call.mask, call.q));
    static constexpr const char *kDims[] = {"B", "H", "n_q", "n_k"};
    const int64_t full[] = {call.B, call.H, call.n_q, call.n_k};
    for (int dim = 0; dim < 4; dim++) {
        if (call.mask.size(dim) != 1) {
            MUATTN_RETURN_IF_ERROR(check_size(call.mask, dim, kDims[dim], full[dim], "must be 1, or that of q and k"));
        }
    }
    const Argument *const masks[] = {&call.mask};
    MUATTN_RETURN_IF_ERROR(check_output(call.out, masks, 1));
    return call.with_lse ? check_output(call.lse, masks, 1) : MUATTN_OK;
}

muattn_status check_softcap(float softcap) {
    if (!(std::isfinite(softcap) && softcap >= 0)) {
        return fail(MUATTN_INVALID_SOFTCAP, "softcap must be finite and above 0, or 0 for none, not %f",
                    double(softcap));
    }
    return MUATTN_OK;
}

}  // namespace

muattn_status check_spatial_call(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_spatial_options &options,
                                 const muattn_tensor *out, const muattn_tensor *lse) {
    MUATTN_RETURN_IF_ERROR(check_tensors(call, q, k, v, out, lse));
    if (MUATTN_HEAD_DIM != 0 && (call.d != MUATTN_HEAD_DIM || call.d_v != MUATTN_HEAD_DIM)) {
        return fail(MUATTN_UNSUPPORTED,
                    "this build has kernels for d = d_v = %d alone, not for d = %lld and d_v = %lld", MUATTN_HEAD_DIM,
                    static_cast<long long>(call.d), static_cast<long long>(call.d_v));
    }
    MUATTN_RETURN_IF_ERROR(check_scale(options.scale, options.scale_count, call.H));
    MUATTN_RETURN_IF_ERROR(resolve_visibility(call, options));
    MUATTN_RETURN_IF_ERROR(check_key_lengths(call, options.key_lengths));
    MUATTN_RETURN_IF_ERROR(check_mask(call, options.mask));
    return check_softcap(options.softcap);
}

const Argument &no_additive_mask() {
    static float no_bias = 0;
    static const Argument mask{
        "mask", MUATTN_INVALID_MASK, {&no_bias, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {0, 0, 0, 1}, 0}};
    return mask;
}

const Argument &no_boolean_mask() {
    static uint8_t all_allowed = 1;
    static const Argument mask{
        "mask", MUATTN_INVALID_MASK, {&all_allowed, MUATTN_BOOL, MUATTN_CPU, {1, 1, 1, 1}, {0, 0, 0, 1}, 0}};
    return mask;
}

}  // namespace muattn
