// The rules of muattn_channel_attention_forward's arguments.
#include <algorithm>

#include "call.h"
#include "common/error.h"
#include "common/scale.h"

namespace muattn {
namespace {

muattn_status resolve_output_multiplier(ChannelSetting &call, const muattn_channel_options &options) {
    if (options.output_multiplier == nullptr) {
        double multiplier = 0;
        MUATTN_RETURN_IF_ERROR(muattn_channel_output_multiplier(options.scaling, call.d, options.d_base, &multiplier));
        call.output_multiplier = float(multiplier);
        return MUATTN_OK;
    }
    call.output_multiplier = *options.output_multiplier;
    return check_output_multiplier(call.output_multiplier, kMinChannelMultiplier);
}

}  // namespace

muattn_status check_layout(ChannelSetting &setting, const muattn_channel_options &options) {
    if (options.layout != MUATTN_CHANNELS_LAST && options.layout != MUATTN_CHANNELS_FIRST) {
        return fail(MUATTN_INVALID_LAYOUT, "layout: %d is unknown", int(options.layout));
    }
    setting.channels_first = options.layout == MUATTN_CHANNELS_FIRST;
    setting.normalize = options.normalize != 0;
    return MUATTN_OK;
}

muattn_status check_first_tokens(ChannelSetting &setting, Argument &argument, const muattn_tensor *tensor) {
    const int d_dim = setting.channels_first ? 2 : 3;
    MUATTN_RETURN_IF_ERROR(check_tensor(argument, tensor, kDenseFloats));
    setting.B = argument.size(0), setting.H = argument.size(1);
    setting.n = argument.size(5 - d_dim), setting.d = argument.size(d_dim);
    return check_head_dim(argument, d_dim, "d");
}

muattn_status check_tokens_like(const ChannelSetting &setting, Argument &argument, const muattn_tensor *tensor,
                                const Argument &first, const char *rule) {
    static constexpr const char *kDims[2][4] = {{"B", "H", "n", "d"}, {"B", "H", "d", "n"}};
    return check_like(argument, tensor, first, kDims[setting.channels_first], rule);
}

muattn_status check_channel_logits(ChannelSetting &setting, const muattn_channel_options &options) {
    const float most = setting.normalize ? kMaxNormalizedScale : kMaxScale;
    MUATTN_RETURN_IF_ERROR(check_scale(setting.scale, options.scale, options.scale_count, setting.H, most));
    if (options.tokens < 0) {
        return fail(MUATTN_INVALID_TOKENS, "tokens must be at least 1, or 0 for those of the arrays, not %lld",
                    static_cast<long long>(options.tokens));
    }
    const int64_t tokens = options.tokens != 0 ? options.tokens : std::max<int64_t>(setting.n, 1);
    return channel_rule_scale(options, tokens, most, &setting.rule_scale);
}

muattn_status check_channel_options(ChannelSetting &setting, const muattn_channel_options &options) {
    MUATTN_RETURN_IF_ERROR(check_channel_logits(setting, options));
    return resolve_output_multiplier(setting, options);
}

const muattn_channel_options &or_defaults(const muattn_channel_options *options) {
    static constexpr muattn_channel_options kDefaults{};
    return options != nullptr ? *options : kDefaults;
}

muattn_status check_channel_call(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                 const muattn_tensor *v, const muattn_channel_options &options,
                                 const muattn_tensor *out) {
    static constexpr const char *kRule = "must equal q's";
    MUATTN_RETURN_IF_ERROR(check_layout(call, options));
    MUATTN_RETURN_IF_ERROR(check_first_tokens(call, call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tokens_like(call, call.k, k, call.q, kRule));
    MUATTN_RETURN_IF_ERROR(check_tokens_like(call, call.v, v, call.q, kRule));
    MUATTN_RETURN_IF_ERROR(check_tokens_like(call, call.out, out, call.q, kRule));
    const Argument *const inputs[] = {&call.q, &call.k, &call.v};
    MUATTN_RETURN_IF_ERROR(check_output(call.out, inputs, 3));
    return check_channel_options(call, options);
}

}  // namespace muattn
