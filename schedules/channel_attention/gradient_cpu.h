// Order and vectors of the gradient of a map over channels on a CPU: as softmax_cpu.h.
#pragma once
#include "generators/channel_attention/gradient.h"
#include "schedules/channel_attention/map_rows_numbers.h"

namespace muattn {

inline void schedule_channel_gradient_cpu(ChannelGradientStages &f, const schedule::ChannelMapRows &s, bool scalable) {
    using namespace Halide;
    const int lanes = s.lanes;

    for (Func *stage : {&f.rq, &f.W, &f.c_q}) {
        stage->compute_root().vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    for (Func *sum : {&f.D, &f.G}) {
        sum->compute_root()
            .vectorize(f.i, lanes, TailStrategy::RoundUp)
            .update()
            .reorder(f.i, f.r_j)
            .vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    f.rk.compute_root().vectorize(f.j, lanes, TailStrategy::RoundUp);
    f.c_k.compute_root().specialize(f.holds_vector).vectorize(f.j, lanes, TailStrategy::ShiftInwards);
    // Of scalable vectors, 4 lanes to a row would be a stride at which loads are wrong.
    f.lane_sum.compute_root()
        .bound_extent(f.l, lanes)
        .align_storage(f.l, scalable ? lanes + 1 : lanes)
        .vectorize(f.l)
        .update()
        .reorder(f.l, f.r_v, f.j)
        .vectorize(f.l);
    f.c_k_sum.compute_root()
        .vectorize(f.j, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.j, f.r_l)
        .vectorize(f.j, lanes, TailStrategy::RoundUp);
}

}  // namespace muattn
