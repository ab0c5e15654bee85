// Statistics of logits in double precision, as muattn.h defines them.
#pragma once

#include <vector>

#include "muattn/muattn.h"

namespace muattn::reference {

// Of a batch entry and head.
struct LogitStats {
    double mean_abs = 0, rms = 0, max = 0, entropy = 0;
    // For an error model: the largest logit's size before cancellation, and the largest after softcap; the longest row.
    double logit_size = 0, capped_size = 0;
    int64_t longest_row = 0;
};

// Batch entries, of each its heads.
std::vector<LogitStats> spatial_logit_stats(const muattn_tensor &q, const muattn_tensor &k,
                                            const muattn_spatial_options &options);
std::vector<LogitStats> channel_logit_stats(const muattn_tensor &q, const muattn_tensor &k,
                                            const muattn_channel_options &options);

}  // namespace muattn::reference
