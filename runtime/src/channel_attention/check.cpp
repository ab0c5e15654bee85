// The rules of muattn_channel_attention_forward's arguments.
#include <algorithm>

#include "call.h"
#include "common/error.h"

namespace muattn {
namespace {

muattn_status check_tensors(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                            const muattn_tensor *out, muattn_layout layout) {
    static constexpr const char *kDims[2][4] = {{"B", "H", "n", "d"}, {"B", "H", "d", "n"}};
    if (layout != MUATTN_CHANNELS_LAST && layout != MUATTN_CHANNELS_FIRST) {
        return fail(MUATTN_INVALID_LAYOUT, "layout: %d is unknown", int(layout));
    }
    call.channels_first = layout == MUATTN_CHANNELS_FIRST;
    const int d_dim = call.channels_first ? 2 : 3;
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out));
    call.B = call.q.size(0), call.H = call.q.size(1), call.n = call.q.size(5 - d_dim), call.d = call.q.size(d_dim);
    MUATTN_RETURN_IF_ERROR(check_head_dim(call.q, d_dim, "d"));
    for (const Argument *other : {&call.k, &call.v, &call.out}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, call.q));
        for (int dim = 0; dim < 4; dim++) {
            MUATTN_RETURN_IF_ERROR(
                check_size(*other, dim, kDims[call.channels_first][dim], call.q.size(dim), "must equal q's"));
        }
    }
    const Argument *const inputs[] = {&call.q, &call.k, &call.v};
    return check_output(call.out, inputs, 3);
}

// By magnitude: a kernel divides them by up to MUATTN_MAX_D, and the result is a normal number.
constexpr float kMinOutputMultiplier = 1e-34f, kMaxOutputMultiplier = 1e38f;

muattn_status resolve_output_multiplier(ChannelCall &call, const muattn_channel_options &options) {
    if (options.output_multiplier == nullptr) {
        double multiplier = 0;
        MUATTN_RETURN_IF_ERROR(muattn_channel_output_multiplier(options.scaling, call.d, options.d_base, &multiplier));
        call.output_multiplier = float(multiplier);
        return MUATTN_OK;
    }
    call.output_multiplier = *options.output_multiplier;
    if (!is_zero_or_between(call.output_multiplier, kMinOutputMultiplier, kMaxOutputMultiplier)) {
        return fail(MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be 0 or of magnitude %g..%g, not %g",
                    double(kMinOutputMultiplier), double(kMaxOutputMultiplier), double(call.output_multiplier));
    }
    return MUATTN_OK;
}

}  // namespace

muattn_status check_channel_call(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_channel_options &options,
                                 const muattn_tensor *out) {
    MUATTN_RETURN_IF_ERROR(check_tensors(call, q, k, v, out, options.layout));
    call.normalize = options.normalize != 0;
    MUATTN_RETURN_IF_ERROR(check_scale(call.scale, options.scale, options.scale_count, call.H,
                                       call.normalize ? kMaxNormalizedScale : kMaxScale));
    MUATTN_RETURN_IF_ERROR(resolve_output_multiplier(call, options));
    double rule_scale = 0;
    MUATTN_RETURN_IF_ERROR(muattn_channel_scale(options.scaling, std::max<int64_t>(call.n, 1), &rule_scale));
    call.rule_scale = float(rule_scale);
    return MUATTN_OK;
}

}  // namespace muattn
