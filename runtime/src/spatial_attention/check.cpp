// The rules of muattn_spatial_attention_forward's arguments, and of those that its backward pass has as well.
#include <algorithm>
#include <cmath>
#include <limits>

#include "call.h"
#include "common/error.h"
#include "common/scale.h"

namespace muattn {

const muattn_spatial_options &or_defaults(const muattn_spatial_options *options) {
    static constexpr muattn_spatial_options kDefaults{};
    return options != nullptr ? *options : kDefaults;
}

muattn_status check_rows(Argument &argument, const muattn_tensor *tensor, const SpatialCall &call) {
    MUATTN_RETURN_IF_ERROR(check_tensor(argument, tensor, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_device(argument, call.q));
    MUATTN_RETURN_IF_ERROR(check_size(argument, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(argument, 1, "H", call.H, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(argument, 2, "n_q", call.n_q, "must equal q's"));
    return check_size(argument, 3, "one per row", 1, "must be");
}

namespace {

muattn_status check_types(const SpatialCall &call, const TensorRules &of_keys) {
    const muattn_dtype q = call.q.tensor.dtype, k = call.k.tensor.dtype;
    return k == q || q == MUATTN_FLOAT32 || k == MUATTN_INT8
               ? MUATTN_OK
               : fail(MUATTN_INVALID_K, "k.dtype must be that of q, %s%s, not %s", name_of(q),
                      of_keys.dtypes == Dtypes::floats_or_int8 ? ", or int8" : "", name_of(k));
}

// Of one number per row of k or v: [B, Hk, n_k, 1].
muattn_status check_row_scale(Argument &scale, const muattn_tensor *tensor, const Argument &of) {
    if (of.tensor.dtype != MUATTN_INT8) {
        return tensor == nullptr ? MUATTN_OK
                                 : fail(scale.status, "%s must be null: %s is not int8", scale.name, of.name);
    }
    if (tensor == nullptr) {
        return fail(scale.status, "%s must be given where %s is int8", scale.name, of.name);
    }
    MUATTN_RETURN_IF_ERROR(check_tensor(scale, tensor, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_device(scale, of));
    static constexpr const char *kDims[] = {"B", "Hk", "n_k"};
    for (int dim = 0; dim < 3; dim++) {
        MUATTN_RETURN_IF_ERROR(check_size(scale, dim, kDims[dim], of.size(dim), "must equal that of k and v"));
    }
    return check_size(scale, 3, "one per row", 1, "must be");
}

muattn_status check_queries_and_keys(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                     const TensorRules &of_keys) {
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k, of_keys));
    MUATTN_RETURN_IF_ERROR(check_types(call, of_keys));
    MUATTN_RETURN_IF_ERROR(check_device(call.k, call.q));
    call.B = call.q.size(0), call.H = call.q.size(1), call.n_q = call.q.size(2), call.d = call.q.size(3);
    call.Hk = call.k.size(1), call.n_k = call.k.size(2);
    MUATTN_RETURN_IF_ERROR(check_head_dim(call.q, 3, "d"));
    MUATTN_RETURN_IF_ERROR(check_size(call.k, 0, "B", call.B, "must equal q's"));
    if (call.Hk == 0 ? call.H != 0 : call.H % call.Hk != 0) {
        return fail(MUATTN_INVALID_K, "k.shape[1] (Hk) must divide q's number of heads %lld, not be %lld",
                    static_cast<long long>(call.H), static_cast<long long>(call.Hk));
    }
    return check_size(call.k, 3, "d", call.d, "must equal q's");
}

muattn_status check_values_and_outputs(SpatialCall &call, const muattn_tensor *v, const muattn_tensor *out,
                                       const muattn_tensor *lse, const TensorRules &of_keys) {
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v, of_keys));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_dtype(call.v, call.k));
    MUATTN_RETURN_IF_ERROR(check_dtype(call.out, call.q));
    for (const Argument *other : {&call.v, &call.out}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, call.q));
    }
    call.d_v = call.v.size(3);
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 1, "Hk", call.Hk, "must equal k's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.v, 2, "n_k", call.n_k, "must equal k's"));
    MUATTN_RETURN_IF_ERROR(check_head_dim(call.v, 3, "d_v"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 0, "B", call.B, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 1, "H", call.H, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 2, "n_q", call.n_q, "must equal q's"));
    MUATTN_RETURN_IF_ERROR(check_size(call.out, 3, "d_v", call.d_v, "must equal v's"));
    call.with_lse = lse != nullptr;
    return call.with_lse ? check_rows(call.lse, lse, call) : MUATTN_OK;
}

muattn_status check_causal(const muattn_spatial_options &options) {
    MUATTN_RETURN_IF_ERROR(check_alignment(options.causal));
    if (options.causal_offsets != nullptr && options.causal != MUATTN_CAUSAL_OFFSET) {
        return fail(MUATTN_INVALID_CAUSAL, "causal_offsets: causal must be MUATTN_CAUSAL_OFFSET where they are given");
    }
    return MUATTN_OK;
}

// o of muattn.h. Wide: an offset far outside may be balanced by a window that reaches as far back.
Wide causal_offset(const SpatialCall &call, const muattn_spatial_options &options, int64_t b) {
    switch (options.causal) {
    case MUATTN_CAUSAL_BOTTOM_RIGHT:
        return (options.key_lengths != nullptr ? options.key_lengths[b] : call.n_k) - call.n_q;
    case MUATTN_CAUSAL_OFFSET:
        return options.causal_offsets != nullptr ? options.causal_offsets[b] : options.causal_offset;
    default: return 0;
    }
}

// causal and window, as the interval of j - i that a query sees. Every j - i lies strictly between -n_q and n_k, so the ends
// are cut to these.
VisibleKeys visible_keys(const SpatialCall &call, const muattn_spatial_options &options, int64_t b) {
    const Wide offset = causal_offset(call, options, b), open_first = -call.n_q, open_last = call.n_k;
    Wide first = open_first, last = options.causal == MUATTN_CAUSAL_NONE ? open_last : offset + 1;
    if (options.window.enabled) {
        if (options.window.left >= 0) {
            first = offset - options.window.left;
        }
        if (options.window.right >= 0) {
            last = std::min(last, offset + options.window.right + 1);
        }
    }
    return {int32_t(std::clamp(first, open_first, open_last)), int32_t(std::clamp(last, open_first, open_last)),
            int32_t(options.key_lengths != nullptr ? options.key_lengths[b] : call.n_k)};
}

muattn_status set_visible_keys(SpatialCall &call, const muattn_spatial_options &options) {
    const bool differ = options.key_lengths != nullptr || options.causal_offsets != nullptr;
    MUATTN_RETURN_IF_ERROR(call.visible.resize(differ ? call.B : 1));
    call.window_first = int32_t(call.n_k), call.window_last = int32_t(-call.n_q);
    for (int64_t b = 0; b < call.visible.count(); b++) {
        const VisibleKeys &visible = call.visible[b] = visible_keys(call, options, b);
        call.window_first = std::min(call.window_first, visible.window_first);
        call.window_last = std::max(call.window_last, visible.window_last);
    }
    return MUATTN_OK;
}

muattn_status check_key_lengths(SpatialCall &call, const int64_t *key_lengths) {
    call.with_key_lengths = key_lengths != nullptr;
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
        } else {
            call.mask.tensor.strides[dim] = 0;  // kernels may go on along keys
        }
    }
    return MUATTN_OK;
}

// By magnitude, so that what kernels make of them is a normal number: they multiply softcaps by log2(e), and divide scales by them.
constexpr float kMinSoftcap = 1e-20f, kMaxSoftcap = 1e20f;

muattn_status check_softcap(SpatialCall &call, const muattn_spatial_options &options) {
    const float softcap = call.softcap = options.softcap;
    if (softcap == 0) {
        return MUATTN_OK;
    }
    if (!(softcap >= kMinSoftcap && softcap <= kMaxSoftcap)) {
        return fail(MUATTN_INVALID_SOFTCAP, "softcap must lie in %g..%g, not %g", double(kMinSoftcap),
                    double(kMaxSoftcap), double(softcap));
    }
    for (int64_t i = 0; i < (options.scale != nullptr ? options.scale_count : 1); i++) {
        if (!is_zero_or_between(call.scale.at(i) / softcap, kMinScale, kMaxScale)) {
            return fail(MUATTN_INVALID_SOFTCAP,
                        "softcap: scale[%lld] / softcap must be 0 or of magnitude %g..%g, not %g / %g",
                        static_cast<long long>(i), double(kMinScale), double(kMaxScale), double(call.scale.at(i)),
                        double(softcap));
        }
    }
    return MUATTN_OK;
}

muattn_status apply_rule(SpatialCall &call, const muattn_spatial_options &options) {
    double scale = 0, output_multiplier = 0;
    MUATTN_RETURN_IF_ERROR(muattn_spatial_rule(&options, call.d, call.n_k, &scale, &output_multiplier));
    call.rule_scale = float(scale);
    call.output_multiplier = float(output_multiplier);
    if (options.output_multiplier != nullptr) {
        call.output_multiplier = *options.output_multiplier;
        return check_output_multiplier(call.output_multiplier, kMinSpatialMultiplier);
    }
    if (options.scaling == MUATTN_SCALING_UMUP && options.scale != nullptr) {
        return fail(MUATTN_INVALID_SCALE,
                    "scale: with MUATTN_SCALING_UMUP give output_multiplier as well: the rule's is "
                    "for the rule's scale; its factor is alpha");
    }
    return MUATTN_OK;
}

muattn_status check_sink(SpatialCall &call, const float *sink) {
    if (sink == nullptr) {
        return MUATTN_OK;
    }
    constexpr float kMostSink = 1e37f;
    for (int64_t h = 0; h < call.H; h++) {
        if (!(std::fabs(sink[h]) <= kMostSink) && sink[h] != -std::numeric_limits<float>::infinity()) {
            return fail(MUATTN_INVALID_SINK, "sink[%lld] must be -inf, for none, or lie in -%g..%g, not be %g",
                        static_cast<long long>(h), double(kMostSink), double(kMostSink), double(sink[h]));
        }
    }
    call.sink = {sink, true};
    return MUATTN_OK;
}

// When sizes are known.
muattn_status check_options(SpatialCall &call, const muattn_spatial_options &options) {
    if (MUATTN_HEAD_DIM != 0 && (call.d != MUATTN_HEAD_DIM || call.d_v != MUATTN_HEAD_DIM)) {
        return fail(MUATTN_UNSUPPORTED,
                    "this build has kernels for d = d_v = %d alone, not for d = %lld and d_v = %lld", MUATTN_HEAD_DIM,
                    static_cast<long long>(call.d), static_cast<long long>(call.d_v));
    }
    MUATTN_RETURN_IF_ERROR(check_scale(call.scale, options.scale, options.scale_count, call.H));
    MUATTN_RETURN_IF_ERROR(check_causal(options));
    MUATTN_RETURN_IF_ERROR(apply_rule(call, options));
    MUATTN_RETURN_IF_ERROR(check_key_lengths(call, options.key_lengths));
    MUATTN_RETURN_IF_ERROR(check_mask(call, options.mask));
    MUATTN_RETURN_IF_ERROR(check_softcap(call, options));
    MUATTN_RETURN_IF_ERROR(check_sink(call, options.sink));
    return set_visible_keys(call, options);
}

}  // namespace

muattn_status check_spatial_inputs(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                   const muattn_tensor *v, const muattn_spatial_options &options,
                                   const muattn_tensor *out, const muattn_tensor *lse, const TensorRules &of_keys) {
    MUATTN_RETURN_IF_ERROR(check_queries_and_keys(call, q, k, of_keys));
    MUATTN_RETURN_IF_ERROR(check_values_and_outputs(call, v, out, lse, of_keys));
    MUATTN_RETURN_IF_ERROR(check_row_scale(call.k_scale, options.k_scale, call.k));
    MUATTN_RETURN_IF_ERROR(check_row_scale(call.v_scale, options.v_scale, call.v));
    return check_options(call, options);
}

muattn_status check_spatial_logits(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                   const muattn_spatial_options &options) {
    MUATTN_RETURN_IF_ERROR(check_queries_and_keys(call, q, k, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_row_scale(call.k_scale, options.k_scale, call.k));
    MUATTN_RETURN_IF_ERROR(check_row_scale(call.v_scale, options.v_scale, call.v));
    call.d_v = call.d;  // there are no values
    return check_options(call, options);
}

muattn_status check_spatial_call(SpatialCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_spatial_options &options,
                                 const muattn_tensor *out, const muattn_tensor *lse) {
    MUATTN_RETURN_IF_ERROR(check_spatial_inputs(call, q, k, v, options, out, lse, kCacheRules));
    const Argument *others[7] = {&call.q, &call.k, &call.v};
    int count = 3;
    if (call.with_mask) {
        others[count++] = &call.mask;
    }
    if (call.with_row_scales()) {
        others[count++] = &call.k_scale;
        others[count++] = &call.v_scale;
    }
    MUATTN_RETURN_IF_ERROR(check_output(call.out, others, count));
    others[count++] = &call.out;
    return call.with_lse ? check_output(call.lse, others, count) : MUATTN_OK;
}

}  // namespace muattn
