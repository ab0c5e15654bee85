// Order, vectors and threads of the split variant of spatial attention on a CPU.
//
// One task is a span of keys of one key/value head: it reads each key and value once, from where the user has them, a
// chunk at a time so that the values are still in the first-level cache when the next group of columns needs them.
#pragma once
#include "generators/spatial_attention.h"
#include "spatial_attention_schedule.h"

namespace muattn {

struct SpatialAttentionSplitStages {
    Halide::Func query, head, partial, m_all, merged;
    Halide::RDom r_p;
};

inline void schedule_spatial_attention_split_cpu(SpatialAttentionStages &f, SpatialAttentionSplitStages &split,
                                                 const schedule::SpatialAttentionSchedule &s) {
    using namespace Halide;
    const int lanes = s.lanes, rows = s.tile_rows();
    Var task("task"), jo("jo"), ji("ji"), eo("eo"), ei("ei"), po("po"), pi("pi"), to("to"), ti("ti");

    f.out.vectorize(f.e, lanes, TailStrategy::GuardWithIf);
    f.O.compute_root()
        .split(f.e, eo, ei, s.value_group, TailStrategy::RoundUp)
        .reorder(ei, f.i, eo)
        .vectorize(f.i, lanes)
        .unroll(ei);
    if (f.LSE.defined()) {
        f.LSE.compute_root().vectorize(f.i, lanes);
    }
    split.m_all.compute_root()
        .vectorize(f.i, lanes)
        .update()
        .reorder(f.i, split.r_p)
        .vectorize(f.i, lanes);
    split.merged.compute_root()
        .vectorize(f.i, lanes)
        .update()
        .reorder(f.i, f.g, split.r_p)
        .vectorize(f.i, lanes);

    for (Func *stage : {&split.query, &split.head}) {
        stage->compute_root();
    }
    f.Q.compute_root()
        .vectorize(f.i, lanes);
    // Split by one before they are fused: bounds inference sees through a split, not through a fused argument.
    split.partial.compute_root()
        .split(f.p, po, pi, 1)
        .split(f.t, to, ti, 1)
        .reorder(f.i, f.g, pi, ti, po, to, f.h, f.b)
        .fuse(po, to, task)
        .fuse(task, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.i, lanes);
    f.state.compute_at(split.partial, task)
        .bound_extent(f.p, 1)
        .bound_extent(f.t, 1)
        .vectorize(f.i, lanes)
        .update()
        .reorder(f.i, f.g, f.r_c)
        .vectorize(f.i, lanes)
        .unroll(f.i);
    for (Func *stage : {&f.S, &f.M, &f.P, &f.L}) {
        stage->compute_at(f.state, f.r_c)
            .bound_extent(f.c, 1)
            .bound_extent(f.t, 1)
            .bound_extent(f.i, rows);
    }
    for (Func *mask : {&f.bias, &f.allowed}) {
        if (mask->defined()) {
            mask->compute_at(f.state, f.r_c)
                .bound_extent(f.c, 1)
                .bound_extent(f.t, 1)
                .vectorize(f.i, lanes);
        }
    }
    f.S.split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.i, ji, jo)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(ji);
    f.QK.compute_at(f.S, jo)
        .bound_extent(f.c, 1)
        .bound_extent(f.t, 1)
        .bound_extent(f.i, rows)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.i, f.j, f.r_e)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.j);
    for (Func *sum : {&f.M, &f.L}) {
        sum->vectorize(f.i, lanes)
            .unroll(f.i)
            .update()
            .reorder(f.i, f.r_j)
            .vectorize(f.i, lanes)
            .unroll(f.i);
    }
    f.P.vectorize(f.i, lanes)
        .unroll(f.i);
    f.PV.compute_at(f.state, f.g)
        .bound_extent(f.c, 1)
        .bound_extent(f.t, 1)
        .bound_extent(f.e, s.value_group)
        .bound_extent(f.i, rows)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.e)
        .update()
        .reorder(f.i, f.e, f.r_j)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.e);
}

}  // namespace muattn
