// Order and vectors of the statistics of a map's logits on a CPU.
#pragma once
#include "generators/channel_attention/logit_stats.h"
#include "schedules/channel_attention/map_rows_numbers.h"

namespace muattn {

inline void schedule_channel_logit_stats_cpu(ChannelLogitStatsStages &f, const schedule::ChannelMapRows &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii");

    f.out.vectorize(f.i, lanes, TailStrategy::RoundUp);
    for (Func *stage : {&f.rq, &f.S}) {
        stage->compute_root().vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    f.rk.compute_root().vectorize(f.j, lanes, TailStrategy::RoundUp);
    // Many rows go from column to column together, so that no maximum waits for the last; of the five sums, one vector of rows.
    f.M.compute_root()
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.i, f.r_m)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.sums.compute_root()
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .update()
        .split(f.i, io, ii, lanes, TailStrategy::RoundUp)
        .reorder(ii, f.r_j, io)
        .vectorize(ii);
}

}  // namespace muattn
