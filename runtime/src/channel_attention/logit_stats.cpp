// muattn_channel_logit_stats: the map, as for the halves of channel attention, and the statistics of its rows.
#include "common/error.h"
#include "parts.h"
#include "system/floating_point.h"

extern "C" muattn_status muattn_channel_logit_stats(const muattn_tensor *q, const muattn_tensor *k,
                                                    const muattn_channel_options *options, const muattn_tensor *stats) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    if (!kHasChannelParts) {
        return parts_not_built();
    }
    ChannelPartsCall call;
    MUATTN_RETURN_IF_ERROR(check_channel_logit_stats(call, q, k, or_defaults(options), stats));
    ChannelSteps steps;
    steps.map = steps.stats = call.maps() > 0;
    steps.squares = steps.map && call.normalize;
    return run_parts(call, steps, &ChannelParts::stats);
}
