#include "options.h"

#include <cmath>

#include "error.h"

namespace muattn {

bool is_zero_or_between(float x, float least, float most) {
    const float magnitude = std::fabs(x);
    return magnitude == 0 || (magnitude >= least && magnitude <= most);
}

muattn_status check_scale(PerHead &checked, const float *scale, int64_t count, int64_t heads, float most) {
    if (scale == nullptr) {
        return MUATTN_OK;
    }
    if (count != 1 && count != heads) {
        return fail(MUATTN_INVALID_SCALE, "scale_count must be 1 or the number of heads (%lld), not %lld",
                    static_cast<long long>(heads), static_cast<long long>(count));
    }
    for (int64_t i = 0; i < count; i++) {
        if (!is_zero_or_between(scale[i], kMinScale, most)) {
            return fail(MUATTN_INVALID_SCALE, "scale[%lld] must be 0 or of magnitude %g..%g, not %g",
                        static_cast<long long>(i), double(kMinScale), double(most), double(scale[i]));
        }
    }
    checked = {scale, count > 1};
    return MUATTN_OK;
}

muattn_status check_output_multiplier(float given, float least) {
    if (!is_zero_or_between(given, least, kMaxOutputMultiplier)) {
        return fail(MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be 0 or of magnitude %g..%g, not %g",
                    double(least), double(kMaxOutputMultiplier), double(given));
    }
    return MUATTN_OK;
}

}  // namespace muattn
