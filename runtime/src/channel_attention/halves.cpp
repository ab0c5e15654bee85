// muattn_channel_map and muattn_channel_apply: the two halves of channel attention, for tokens that are spread over machines.
#include "common/error.h"
#include "parts.h"
#include "system/floating_point.h"

extern "C" {

using namespace muattn;

muattn_status muattn_channel_map(const muattn_tensor *q, const muattn_tensor *k, const muattn_channel_options *options,
                                 const muattn_tensor *map, const muattn_tensor *q_squares,
                                 const muattn_tensor *k_squares) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(check_channel_map(call, q, k, or_defaults(options), map, q_squares, k_squares));
    ChannelSteps steps;
    steps.map = call.maps() > 0;
    steps.squares = steps.map && call.normalize;
    return run_parts(call, steps, &ChannelParts::map);
}

muattn_status muattn_channel_apply(const muattn_tensor *map, const muattn_tensor *q_squares,
                                   const muattn_tensor *k_squares, const muattn_tensor *v,
                                   const muattn_channel_options *options, const muattn_tensor *out,
                                   const muattn_tensor *attention_map) {
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(
        check_channel_apply(call, map, q_squares, k_squares, v, or_defaults(options), out, attention_map));
    ChannelSteps steps;
    steps.attention_map = call.attention_map.given && !call.attention_map.is_empty();
    steps.out = !call.out.is_empty();
    steps.softmax = steps.out || steps.attention_map;
    return run_parts(call, steps, steps.out ? &ChannelParts::product : &ChannelParts::softmax);
}
}
