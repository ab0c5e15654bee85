// Order and vectors of the softmax of a map over channels on a CPU: all of a task's rows go from column to column together, so that no sum
// waits for its last addition.
#pragma once
#include "generators/channel_attention/softmax.h"
#include "schedules/channel_attention/map_rows_numbers.h"

namespace muattn {

inline void schedule_channel_softmax_cpu(ChannelSoftmaxStages &f, const schedule::ChannelMapRows &s) {
    using namespace Halide;
    const int lanes = s.lanes;

    f.out.vectorize(f.i, lanes, TailStrategy::RoundUp);
    for (Func *stage : {&f.rq, &f.P, &f.R}) {
        stage->compute_root().vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    f.rk.compute_root().vectorize(f.j, lanes, TailStrategy::RoundUp);
    for (Func *sum : {&f.M, &f.L}) {
        sum->compute_root()
            .vectorize(f.i, lanes, TailStrategy::RoundUp)
            .update()
            .reorder(f.i, f.r_j)
            .vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
}

}  // namespace muattn
