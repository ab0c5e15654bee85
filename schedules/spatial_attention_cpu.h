// Order, tiles, vectors and threads of spatial attention on a CPU.
//
// Queries lie in the vector lanes everywhere, so that maximum, exponential, sum and rescaling need no horizontal step;
// keys and values are broadcast. One task is a tile of queries of one head. For each chunk of keys it copies K and V
// (padded, so that the broadcasts of a power-of-two d do not share a cache bank), then takes one block of rows at a time
// through logits, softmax and P V, so that the block's S and P stay in the first-level cache.
#pragma once
#include "generators/spatial_attention.h"
#include "spatial_attention_schedule.h"

namespace muattn {

inline void schedule_spatial_attention_cpu(SpatialAttentionStages &f, const schedule::SpatialAttentionSchedule &s) {
    using namespace Halide;
    const int lanes = s.lanes, block = s.block_rows();
    Var task("task"), io("io"), ii("ii"), jo("jo"), ji("ji"), eo("eo"), ei("ei");

    f.out.split(f.row, f.t, f.i, s.tile_rows(), TailStrategy::GuardWithIf)
        .reorder(f.e, f.i, f.t, f.h, f.b)
        .fuse(f.t, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.e, lanes, TailStrategy::GuardWithIf);
    if (f.LSE.defined()) {
        f.LSE.compute_at(f.out, task)
            .bound_extent(f.t, 1)
            .vectorize(f.i, lanes, TailStrategy::RoundUp);
    }

    f.Q.compute_at(f.out, task)
        .bound_extent(f.t, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.O.compute_at(f.out, task)
        .bound_extent(f.t, 1)
        .split(f.e, eo, ei, s.value_group, TailStrategy::RoundUp)
        .reorder(ei, f.i, eo)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(ei);
    f.state.compute_at(f.out, task)
        .bound_extent(f.t, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.state.update()
        .split(f.i, io, ii, block, TailStrategy::RoundUp)
        .reorder(ii, f.g, io, f.r_c)
        .vectorize(ii, lanes)
        .unroll(ii);

    // The where() of r_c hides from bounds inference that each of these lives for one chunk.
    for (Func *chunk_local : {&f.K, &f.V, &f.QK, &f.S, &f.M, &f.P, &f.L, &f.PV}) {
        chunk_local->bound_extent(f.c, 1);
    }
    for (Func *copy : {&f.K, &f.V}) {
        copy->compute_at(f.state, f.r_c)
            .vectorize(f.e, lanes, TailStrategy::RoundUp)
            .align_storage(f.e, 8);
    }
    for (Func *mask : {&f.bias, &f.allowed}) {
        if (mask->defined()) {
            mask->compute_at(f.state, io)
                .bound_extent(f.c, 1)
                .vectorize(f.i, lanes, TailStrategy::RoundUp)
                .unroll(f.i);
        }
    }
    f.S.compute_at(f.state, io)
        .split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.i, ji, jo)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .unroll(ji);
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
    f.M.compute_at(f.state, io)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .update()
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.P.compute_at(f.state, io)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.L.compute_at(f.state, io)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i)
        .update()
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .unroll(f.i);
    f.PV.compute_at(f.state, f.g)
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
