// Order, tiles, vectors and threads of spatial attention on a CPU.
//
// Queries lie in the vector lanes everywhere, so that maximum, exponential, sum and rescaling need no horizontal step;
// keys and values are broadcast. One task is a tile of queries of one head. For each chunk of keys it copies K and V
// (padded, so that the broadcasts of a power-of-two d do not share a cache bank), then takes one block of rows at a time
// through logits, softmax and P V, so that the block's S and P stay in the first-level cache.
#pragma once
#include "generators/spatial_attention/general.h"
#include "schedules/spatial_attention/general_numbers.h"

namespace muattn {

inline void schedule_spatial_general_cpu(SpatialGeneralStages &f, const schedule::SpatialGeneral &s) {
    using namespace Halide;
    const int lanes = s.lanes, block = s.block_rows(), side = s.transpose_side();
    Var task("task"), io("io"), ii("ii"), jo("jo"), ji("ji"), eo("eo"), ei("ei");
    RVar r_g = f.r_gc.x, r_c = f.r_gc.y;

    f.out.split(f.row, f.x, f.i, block, TailStrategy::GuardWithIf)
        .split(f.x, f.t, f.x, s.tile_blocks, TailStrategy::GuardWithIf)
        .split(f.i, io, ii, side, TailStrategy::GuardWithIf)
        .split(f.e, eo, ei, side, TailStrategy::GuardWithIf)
        .reorder(ei, ii, eo, io, f.x, f.t, f.h, f.b)
        .fuse(f.t, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(ei)
        .unroll(ii);
    f.out.never_partition(task);
    if (f.LSE.defined()) {
        f.LSE.compute_at(f.out, io)
            .bound_extent(f.l, side)
            .bound_extent(f.y, 1)
            .vectorize(f.l);
    }

    f.Q.compute_at(f.out, task)
        .bound_extent(f.t, 1)
        .bound_extent(f.i, block)
        .split(f.i, io, ii, side)
        .split(f.e, eo, ei, side, TailStrategy::RoundUp)
        .reorder(ii, ei, eo, io, f.x)
        .vectorize(ii)
        .unroll(ei)
        .prefetch(f.query_array, io, io, s.kPrefetchedSides, PrefetchBoundStrategy::NonFaulting);
    f.Q_rows.compute_at(f.Q, eo)
        .bound_extent(f.x, 1)
        .bound_extent(f.e, side)
        .bound_extent(f.i, side)
        .align_storage(f.e, s.transpose_row())
        .vectorize(f.e)
        .unroll(f.i);
    f.O.compute_at(f.out, eo)
        .bound_extent(f.l, side)
        .bound_extent(f.e, side)
        .bound_extent(f.y, 1)
        .align_storage(f.l, s.transpose_row())
        .vectorize(f.l)
        .unroll(f.e);
    f.state.compute_at(f.out, task)
        .bound_extent(f.t, 1)
        .bound_extent(f.i, block)
        .vectorize(f.i, lanes);
    f.state.update()
        .reorder(f.i, r_g, f.x, r_c)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .never_partition(f.x, r_c);

    // The where() of r_gc hides from bounds inference that each of these lives for one chunk.
    for (Func *chunk_local : {&f.K, &f.V, &f.QK, &f.S, &f.M, &f.P, &f.L, &f.PV}) {
        chunk_local->bound_extent(f.c, 1);
    }
    for (Func *copy : {&f.K, &f.V}) {
        copy->compute_at(f.state, r_c)
            .vectorize(f.e, lanes, TailStrategy::RoundUp)
            .align_storage(f.e, 8);
    }
    if (f.bias.defined()) {
        f.bias.compute_at(f.state, f.x)
            .bound_extent(f.c, 1)
            .split(f.j, jo, ji, side, TailStrategy::RoundUp)
            .split(f.i, io, ii, side)
            .reorder(ii, ji, io, jo)
            .vectorize(ii)
            .unroll(ji);
        f.bias_rows.compute_at(f.bias, io)
            .bound_extent(f.j, side)
            .bound_extent(f.i, side)
            .bound_extent(f.c, 1)
            .align_storage(f.j, s.transpose_row())
            .vectorize(f.j)
            .unroll(f.i)
            .specialize(f.dense_mask);
    }
    f.S.compute_at(f.state, f.x)
        .split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.i, ji, jo)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(ji);
    if (f.bias.defined()) {
        f.S.specialize(f.same_mask_rows);
    }
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
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.P.compute_at(f.state, f.x)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.L.compute_at(f.state, f.x)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .update()
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.PV.compute_at(f.state, r_g)
        .bound_extent(f.e, s.value_group)
        .bound_extent(f.i, block)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(f.e)
        .update()
        .reorder(f.i, f.e, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(f.e);
}

}  // namespace muattn
