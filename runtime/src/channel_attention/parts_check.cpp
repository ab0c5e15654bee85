// The rules of the arguments of channel attention's halves and gradients.
#include <cstdio>

#include "common/error.h"
#include "common/logit_stats.h"
#include "parts_call.h"

namespace muattn {
namespace {

using Tensor = ChannelPartsCall::Tensor;

// Of one call, in the order of its arguments.
class Check {
public:
    explicit Check(ChannelPartsCall &call) : call_(call) {}

    muattn_status layout(const muattn_channel_options &options) { return check_layout(call_, options); }

    // q, k, v, out and what is like them: the first says what sizes are.
    muattn_status tokens(Tensor &argument, const muattn_tensor *tensor) {
        if (first_tokens_ == nullptr) {
            first_tokens_ = &argument;
            MUATTN_RETURN_IF_ERROR(check_first_tokens(call_, argument, tensor));
            return add_input(argument);
        }
        char rule[40];
        snprintf(rule, sizeof rule, "must equal %s's", first_tokens_->name);
        MUATTN_RETURN_IF_ERROR(check_tokens_like(call_, argument, tensor, *first_tokens_, rule));
        return add_input(argument);
    }
    // After these.
    muattn_status map(Tensor &argument, const muattn_tensor *tensor) {
        static constexpr const char *kDims[] = {"B", "H", "d", "d"};
        return sized(argument, tensor, kDims, call_.d, kDenseRows);
    }
    muattn_status squares(Tensor &argument, const muattn_tensor *tensor) {
        static constexpr const char *kDims[] = {"B", "H", "d", "1"};
        if (!call_.normalize) {
            return tensor == nullptr ? MUATTN_OK
                                     : fail(argument.status, "%s must be null without normalize", argument.name);
        }
        if (tensor == nullptr) {
            return fail(argument.status, "%s must not be null with normalize", argument.name);
        }
        return sized(argument, tensor, kDims, 1, kAnyInnerStride);
    }
    // Of what was checked as an input last.
    muattn_status is_output(Tensor &argument) { return check_output(argument, tensors_, count_ - 1); }

private:
    static constexpr int kMost = 12;

    muattn_status sized(Tensor &argument, const muattn_tensor *tensor, const char *const (&dims)[4], int64_t innermost,
                        TensorRules rules) {
        MUATTN_RETURN_IF_ERROR(check_tensor(argument, tensor, rules));
        MUATTN_RETURN_IF_ERROR(check_device(argument, *first_tokens_));
        const int64_t sizes[] = {call_.B, call_.H, call_.d, innermost};
        for (int dim = 0; dim < 4; dim++) {
            char rule[40];
            if (dim == 3 && innermost == 1) {
                snprintf(rule, sizeof rule, "must be");
            } else {
                snprintf(rule, sizeof rule, "must equal %s's %s", first_tokens_->name, dims[dim]);
            }
            MUATTN_RETURN_IF_ERROR(check_size(argument, dim, dims[dim], sizes[dim], rule));
        }
        return add_input(argument);
    }
    muattn_status add_input(Tensor &argument) {
        argument.given = true;
        tensors_[count_++] = &argument;
        return MUATTN_OK;
    }

    ChannelPartsCall &call_;
    const Tensor *first_tokens_ = nullptr;
    const Argument *tensors_[kMost];
    int count_ = 0;
};

}  // namespace

muattn_status check_channel_map(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                const muattn_channel_options &options, const muattn_tensor *map,
                                const muattn_tensor *q_squares, const muattn_tensor *k_squares) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.q, q));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.k, k));
    MUATTN_RETURN_IF_ERROR(check.map(call.map, map));
    MUATTN_RETURN_IF_ERROR(check.is_output(call.map));
    MUATTN_RETURN_IF_ERROR(check.squares(call.q_squares, q_squares));
    if (call.normalize) {
        MUATTN_RETURN_IF_ERROR(check.is_output(call.q_squares));
    }
    MUATTN_RETURN_IF_ERROR(check.squares(call.k_squares, k_squares));
    return call.normalize ? check.is_output(call.k_squares) : MUATTN_OK;
}

muattn_status check_channel_logit_stats(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                        const muattn_channel_options &options, const muattn_tensor *stats) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.q, q));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.k, k));
    const Argument *const inputs[] = {&call.q, &call.k};
    MUATTN_RETURN_IF_ERROR(check_stats(call.stats, stats, inputs, 2));
    call.stats.given = true;
    return check_channel_logits(call, options);
}

muattn_status check_channel_apply(ChannelPartsCall &call, const muattn_tensor *map, const muattn_tensor *q_squares,
                                  const muattn_tensor *k_squares, const muattn_tensor *v,
                                  const muattn_channel_options &options, const muattn_tensor *out,
                                  const muattn_tensor *attention_map) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.v, v));
    MUATTN_RETURN_IF_ERROR(check.map(call.map, map));
    MUATTN_RETURN_IF_ERROR(check.squares(call.q_squares, q_squares));
    MUATTN_RETURN_IF_ERROR(check.squares(call.k_squares, k_squares));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.out, out));
    MUATTN_RETURN_IF_ERROR(check.is_output(call.out));
    if (attention_map != nullptr) {
        MUATTN_RETURN_IF_ERROR(check.map(call.attention_map, attention_map));
        MUATTN_RETURN_IF_ERROR(check.is_output(call.attention_map));
    }
    return check_channel_options(call, options);
}

namespace {

// Where gradients go; d_v with may_have_v.
muattn_status check_gradients(ChannelPartsCall &call, Check &check, const muattn_channel_gradients *gradients,
                              bool may_have_v) {
    if (gradients == nullptr) {
        return fail(MUATTN_INVALID_GRADIENTS, "gradients must not be null");
    }
    if (gradients->d_v != nullptr && !may_have_v) {
        return fail(MUATTN_INVALID_D_V, "d_v must be null: muattn_channel_apply_backward gives it");
    }
    struct {
        Tensor &argument;
        const muattn_tensor *tensor;
    } const outputs[] = {{call.d_q, gradients->d_q}, {call.d_k, gradients->d_k}, {call.d_v, gradients->d_v}};
    for (const auto &output : outputs) {
        if (output.tensor != nullptr) {
            MUATTN_RETURN_IF_ERROR(check.tokens(output.argument, output.tensor));
            MUATTN_RETURN_IF_ERROR(check.is_output(output.argument));
        }
    }
    call.d_scale = gradients->d_scale;
    call.d_output_multiplier = gradients->d_output_multiplier;
    return MUATTN_OK;
}

}  // namespace

muattn_status check_channel_backward(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                     const muattn_tensor *v, const muattn_tensor *d_out,
                                     const muattn_tensor *attention_map, const muattn_channel_options &options,
                                     const muattn_channel_gradients *gradients) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.q, q));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.k, k));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.v, v));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.d_out, d_out));
    if (attention_map != nullptr) {
        if (call.normalize) {
            return fail(MUATTN_INVALID_MAP,
                        "attention_map must be null with normalize, where the logits themselves are needed; to save "
                        "their product, call muattn_channel_apply_backward and muattn_channel_map_backward");
        }
        MUATTN_RETURN_IF_ERROR(check.map(call.attention_map, attention_map));
    }
    MUATTN_RETURN_IF_ERROR(check_gradients(call, check, gradients, true));
    return check_channel_options(call, options);
}

muattn_status check_channel_apply_backward(ChannelPartsCall &call, const muattn_tensor *map,
                                           const muattn_tensor *q_squares, const muattn_tensor *k_squares,
                                           const muattn_tensor *v, const muattn_tensor *d_out,
                                           const muattn_channel_options &options, const muattn_tensor *d_attention_map,
                                           const muattn_tensor *d_v) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.v, v));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.d_out, d_out));
    MUATTN_RETURN_IF_ERROR(check.map(call.map, map));
    MUATTN_RETURN_IF_ERROR(check.squares(call.q_squares, q_squares));
    MUATTN_RETURN_IF_ERROR(check.squares(call.k_squares, k_squares));
    if (d_attention_map != nullptr) {
        MUATTN_RETURN_IF_ERROR(check.map(call.d_attention_map, d_attention_map));
        MUATTN_RETURN_IF_ERROR(check.is_output(call.d_attention_map));
    }
    if (d_v != nullptr) {
        MUATTN_RETURN_IF_ERROR(check.tokens(call.d_v, d_v));
        MUATTN_RETURN_IF_ERROR(check.is_output(call.d_v));
    }
    return check_channel_options(call, options);
}

muattn_status check_channel_map_backward(ChannelPartsCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                         const muattn_tensor *map, const muattn_tensor *q_squares,
                                         const muattn_tensor *k_squares, const muattn_tensor *d_attention_map,
                                         const muattn_channel_options &options,
                                         const muattn_channel_gradients *gradients) {
    Check check(call);
    MUATTN_RETURN_IF_ERROR(check.layout(options));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.q, q));
    MUATTN_RETURN_IF_ERROR(check.tokens(call.k, k));
    MUATTN_RETURN_IF_ERROR(check.map(call.map, map));
    MUATTN_RETURN_IF_ERROR(check.squares(call.q_squares, q_squares));
    MUATTN_RETURN_IF_ERROR(check.squares(call.k_squares, k_squares));
    MUATTN_RETURN_IF_ERROR(check.map(call.d_attention_map, d_attention_map));
    MUATTN_RETURN_IF_ERROR(check_gradients(call, check, gradients, false));
    return check_channel_options(call, options);
}

}  // namespace muattn
