// Calls for the statistics of logits: run, and compared with the reference.
#pragma once

#include "support/cases.h"

namespace muattn::test {

// [B, H, 1, 4], nothing written yet, in the layout of the case's outputs.
Tensor make_stats(int64_t B, int64_t H, const Layout &layout);

muattn_status run_stats(const SpatialCase &c, const SpatialTensors &t, const Tensor &stats);
muattn_status run_stats(const ChannelCase &c, const ChannelTensors &t, const Tensor &stats);

// Success, every number within the error model of the reference, nothing else written, by a kernel of the current backend.
void expect_stats_agree(const SpatialCase &c, const SpatialTensors &t);
void expect_stats_agree(const ChannelCase &c, const ChannelTensors &t);
inline void expect_stats_agree(const SpatialCase &c) { expect_stats_agree(c, make_tensors(c)); }
inline void expect_stats_agree(const ChannelCase &c) { expect_stats_agree(c, make_tensors(c)); }

}  // namespace muattn::test
