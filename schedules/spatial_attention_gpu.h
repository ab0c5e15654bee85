// A first, plain order of spatial attention on a GPU: one thread per query, everything it holds in its own memory. It
// shows that the algorithm serves both kinds of machine; it is not fast.
#pragma once
#include "generators/spatial_attention.h"
#include "spatial_attention_schedule.h"

namespace muattn {

// The kernel is compiled for one d and d_v, so that what a thread holds has a fixed size. A tile is one query.
inline void schedule_spatial_attention_gpu(SpatialAttentionStages &f, const schedule::SpatialAttentionSchedule &s) {
    using namespace Halide;
    Var block("block"), thread("thread");
    RVar r_g = f.r_gc.x, r_c = f.r_gc.y;
    f.out.gpu_tile(f.row, block, thread, 32, TailStrategy::GuardWithIf)
        .reorder(f.e, thread, block, f.h, f.b)
        .gpu_blocks(f.h, f.b)
        .unroll(f.e, s.value_group);

    for (Func *stage : {&f.Q, &f.state}) {
        stage->compute_at(f.out, thread)
            .bound_extent(f.i, 1)
            .bound_extent(f.t, 1)
            .store_in(MemoryType::Stack);
    }
    f.state.update().reorder(f.i, r_g, f.x, r_c);
    for (Func *stage : {&f.S, &f.M, &f.P, &f.L}) {
        stage->compute_at(f.state, r_c)
            .bound_extent(f.i, 1)
            .bound_extent(f.c, 1)
            .store_in(MemoryType::Stack);
    }
    f.S.bound_extent(f.j, s.chunk_keys);
    f.P.bound_extent(f.j, s.chunk_keys);
    f.QK.compute_at(f.S, f.j).store_in(MemoryType::Stack);
    f.PV.compute_at(f.state, r_g)
        .bound_extent(f.i, 1)
        .bound_extent(f.e, s.value_group)
        .bound_extent(f.c, 1)
        .store_in(MemoryType::Stack)
        .unroll(f.e)
        .update()
        .reorder(f.e, f.r_j)
        .unroll(f.e);
}

}  // namespace muattn
