// Order, tiles and vectors of the statistics of logits on a CPU: the first half of the general forward schedule. Queries lie in the vector
// lanes, so that no sum needs a horizontal step.
#pragma once
#include "generators/spatial_attention/logit_stats.h"
#include "schedules/spatial_attention/logit_stats_numbers.h"

namespace muattn {

inline void schedule_spatial_logit_stats_cpu(SpatialLogitStatsStages &f, const schedule::SpatialLogitStats &s) {
    using namespace Halide;
    const int lanes = s.lanes, block = s.block_rows(), side = s.transpose_side();
    Var io("io"), ii("ii"), jo("jo"), ji("ji"), eo("eo"), ei("ei");

    f.out.vectorize(f.row, lanes, TailStrategy::GuardWithIf);

    f.Q.compute_root()
        .bound_extent(f.i, block)
        .split(f.i, io, ii, side)
        .split(f.e, eo, ei, side, TailStrategy::RoundUp)
        .reorder(ii, ei, eo, io, f.x)
        .vectorize(ii)
        .unroll(ei);
    f.Q_rows.compute_at(f.Q, eo)
        .bound_extent(f.x, 1)
        .bound_extent(f.e, side)
        .bound_extent(f.i, side)
        .align_storage(f.e, s.transpose_row())
        .vectorize(f.e)
        .unroll(f.i);
    f.state.compute_root()
        .bound_extent(f.i, block)
        .vectorize(f.i, lanes)
        .update()
        .reorder(f.i, f.x, f.r_c)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .never_partition(f.x, f.r_c);
    for (Func *of_chunk : {&f.K, &f.QK, &f.S, &f.M, &f.sums, &f.hides}) {
        of_chunk->bound_extent(f.c, 1);
    }
    f.K.compute_at(f.state, f.r_c).vectorize(f.e, lanes, TailStrategy::RoundUp).align_storage(f.e, 8);
    f.hides.compute_at(f.state, f.x)
        .split(f.j, jo, ji, side, TailStrategy::RoundUp)
        .split(f.i, io, ii, side)
        .reorder(ii, ji, io, jo)
        .vectorize(ii)
        .unroll(ji);
    f.hides_rows.compute_at(f.hides, io)
        .bound_extent(f.j, side)
        .bound_extent(f.i, side)
        .bound_extent(f.c, 1)
        .align_storage(f.j, s.transpose_row())
        .vectorize(f.j)
        .unroll(f.i)
        .specialize(f.dense_mask);
    f.S.compute_at(f.state, f.x)
        .split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.i, ji, jo)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(ji)
        .specialize(f.same_mask_rows);
    f.QK.compute_at(f.S, jo)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.i, f.j, f.r_e)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(f.j);
    f.M.compute_at(f.state, f.x)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .update()
        .reorder(f.i, f.r_m)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    // A vector of rows at a time: five sums of it stay in registers.
    f.sums.compute_at(f.state, f.x)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .update()
        .split(f.i, io, ii, lanes)
        .reorder(ii, f.r_j, io)
        .vectorize(ii);
}

}  // namespace muattn
