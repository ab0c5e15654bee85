// Order, vectors and threads of spatial attention with split keys on a CPU.
//
// One task is a span of keys of one key/value head: a block of rows reads each key and value once, from where the user has them. Columns
// lie in the lanes. Memory is what decoding waits for, so keys and values are asked for well before they are used.
#pragma once
#include "generators/spatial_attention/split_keys.h"
#include "schedules/spatial_attention/split_keys_numbers.h"

namespace muattn {

inline void schedule_spatial_split_keys_cpu(SpatialSplitKeysStages &f,
                                            const schedule::SpatialSplitKeys &s) {
    using namespace Halide;
    const int lanes = s.lanes, group = s.value_vectors * lanes;
    Var task("task"), jo("jo"), ji("ji"), eo("eo"), ei("ei"), po("po"), pi("pi");

    f.out.vectorize(f.e, lanes, TailStrategy::GuardWithIf);
    for (Func *stage : {&f.query, &f.head, &f.m_all, &f.weight, &f.l_all, &f.LSE}) {
        if (stage->defined()) {
            stage->compute_root();
        }
    }
    f.merged.compute_root()
        .vectorize(f.e, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.e, f.r_p, f.i)
        .vectorize(f.e, lanes, TailStrategy::RoundUp);
    f.Q.compute_root()
        .vectorize(f.e, lanes, TailStrategy::RoundUp);
    // Split by one before they are fused: bounds inference sees through a split, not through a fused argument.
    f.partial.compute_root()
        .split(f.p, po, pi, 1)
        .reorder(f.e, f.i, f.x, pi, po, f.h, f.b)
        .fuse(po, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.e, lanes, TailStrategy::RoundUp);

    std::vector<Func *> of_span{&f.QK, &f.S, &f.lane_max, &f.M, &f.P, &f.lane_sum, &f.L, &f.PV, &f.products, &f.PV_part};
    if (f.values_have_scales) {
        of_span.push_back(&f.W);
        f.W.vectorize(f.j, lanes, TailStrategy::RoundUp);
    }
    for (Func *stage : of_span) {
        stage->compute_at(f.partial, f.x)
            .bound_extent(f.x, 1)
            .bound_extent(f.p, 1)
            .bound_extent(f.i, s.block_rows);
    }
    // Lanes are added up in halves, those of key_unroll products together: those of one alone would be added one by one.
    const auto together = [&](auto &&stage) { s.sum_together ? stage.vectorize(ji) : stage.unroll(ji); };
    f.QK.split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(ji, f.i, jo)
        .unroll(f.i);
    together(f.QK);
    f.QK.update()
        .split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.QK.rvars(0)[0], ji, f.i, jo)
        .atomic()
        .vectorize(f.QK.rvars(0)[0])
        .unroll(f.i)
        .prefetch(f.key_array, jo, jo, s.prefetch_keys / s.key_unroll, PrefetchBoundStrategy::NonFaulting);
    together(f.QK.update());
    f.products.compute_at(f.QK, jo)
        .store_in(MemoryType::Register)
        .reorder_storage(f.l, f.j, f.i, f.x, f.p, f.h, f.b)
        .bound_extent(f.j, s.key_unroll)
        .bound_extent(f.l, lanes)
        .vectorize(f.l)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.l, f.i, f.j, f.products.rvars(0)[0])
        .vectorize(f.l)
        .unroll(f.i)
        .unroll(f.j);
    if (f.bias.defined()) {
        f.bias.compute_at(f.partial, f.x)
            .bound_extent(f.x, 1)
            .bound_extent(f.p, 1)
            .vectorize(f.j, lanes, TailStrategy::RoundUp)
            .specialize(f.dense_mask);
    }
    for (Func *stage : {&f.S, &f.P}) {
        stage->vectorize(f.j, lanes, TailStrategy::RoundUp);
    }
    for (Func *stage : {&f.lane_max, &f.lane_sum}) {
        stage->bound_extent(f.l, lanes)
            .vectorize(f.l)
            .unroll(f.i)
            .update()
            .reorder(f.l, f.i, stage->rvars(0)[0])
            .vectorize(f.l)
            .unroll(f.i);
    }
    // A group of columns with a part past d_v would have a mask in every vector; a vector at a time, only the last one has.
    f.PV.vectorize(f.e, lanes, TailStrategy::RoundUp);
    const auto by_columns = [&](Stage stage, int columns) {
        stage.split(f.e, eo, ei, columns, TailStrategy::RoundUp)
            .reorder(ei, f.i, eo, f.r_c)
            .vectorize(ei, lanes)
            .unroll(ei)
            .unroll(f.i)
            .prefetch(f.value_array, f.r_c, f.r_c, 1, PrefetchBoundStrategy::NonFaulting);
    };
    by_columns(f.PV.update().specialize(f.whole_groups), group);
    by_columns(f.PV.update(), lanes);
    f.PV_part.compute_at(f.PV, eo)
        .store_in(MemoryType::Register)
        .bound_extent(f.c, 1)
        .vectorize(f.e, lanes)
        .unroll(f.e)
        .unroll(f.i)
        .update()
        .reorder(f.e, f.i, f.PV_part.rvars(0)[0])
        .vectorize(f.e, lanes)
        .unroll(f.e)
        .unroll(f.i)
        .specialize(f.whole_groups);
}

}  // namespace muattn
