// The gradients of channel attention, of all of it and of its halves. And the check of the former alone.
#include "common/error.h"
#include "parts.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

// What gradients of q, k, scale and output multiplier need of the maps.
bool wants_gradient_of_map(const ChannelPartsCall &call) {
    return call.d_q.given || call.d_k.given || call.d_scale != nullptr || call.d_output_multiplier != nullptr;
}

}  // namespace
}  // namespace muattn

extern "C" {

using namespace muattn;

muattn_status muattn_channel_attention_backward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                      const muattn_tensor *v, const muattn_tensor *d_out,
                                                      const muattn_tensor *attention_map,
                                                      const muattn_channel_options *options,
                                                      const muattn_channel_gradients *gradients) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    return check_channel_backward(call, q, k, v, d_out, attention_map, or_defaults(options), gradients);
}

muattn_status muattn_channel_attention_backward(const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                                                const muattn_tensor *d_out, const muattn_tensor *attention_map,
                                                const muattn_channel_options *options,
                                                const muattn_channel_gradients *gradients) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(
        check_channel_backward(call, q, k, v, d_out, attention_map, or_defaults(options), gradients));
    ChannelSteps steps;
    steps.d_q = call.d_q.given;
    steps.d_k = call.d_k.given;
    steps.d_v = call.d_v.given;
    steps.gradient = steps.d_map = wants_gradient_of_map(call);
    steps.softmax = (steps.gradient || steps.d_v) && !call.attention_map.given;
    // The scale's gradient is a sum over the products themselves.
    steps.map = steps.softmax || call.d_scale != nullptr;
    steps.squares = steps.map && call.normalize;
    return run_parts(call, steps, &ChannelParts::gradient);
}

muattn_status muattn_channel_apply_backward(const muattn_tensor *map, const muattn_tensor *q_squares,
                                            const muattn_tensor *k_squares, const muattn_tensor *v,
                                            const muattn_tensor *d_out, const muattn_channel_options *options,
                                            const muattn_tensor *d_attention_map, const muattn_tensor *d_v) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(check_channel_apply_backward(call, map, q_squares, k_squares, v, d_out, or_defaults(options),
                                                        d_attention_map, d_v));
    ChannelSteps steps;
    steps.d_map = call.d_attention_map.given;
    steps.d_v = steps.softmax = call.d_v.given && !call.d_v.is_empty();
    return run_parts(call, steps, &ChannelParts::map);
}

muattn_status muattn_channel_map_backward(const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *map,
                                          const muattn_tensor *q_squares, const muattn_tensor *k_squares,
                                          const muattn_tensor *d_attention_map, const muattn_channel_options *options,
                                          const muattn_channel_gradients *gradients) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(check_channel_map_backward(call, q, k, map, q_squares, k_squares, d_attention_map,
                                                      or_defaults(options), gradients));
    ChannelSteps steps;
    steps.d_q = call.d_q.given;
    steps.d_k = call.d_k.given;
    steps.gradient = steps.softmax = wants_gradient_of_map(call);
    return run_parts(call, steps, &ChannelParts::gradient);
}
}
