// Order, tiles, vectors and threads of channels-first channel attention on a CPU, in three parallel steps: partial maps
// (a task is a tile of rows of one span), maps (one head), outputs (a tile of tokens of one head). What is read from the
// user's arrays is copied first, a chunk of tokens at a time: rows that are a power of two apart would share cache sets.
#pragma once
#include "channel_attention_first_schedule.h"
#include "generators/channel_attention_first.h"

namespace muattn {

inline void schedule_channel_attention_first_cpu(ChannelAttentionFirstStages &f, const schedule::ChannelAttentionFirstSchedule &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var task("task"), io("io"), ii("ii"), jo("jo"), ji("ji"), uo("uo"), ui("ui"), xo("xo"), xi("xi"), po("po"), pi("pi");

    // Partial maps. Split by one before they are fused: bounds inference sees through a split, not through a fused argument.
    f.span_sum.compute_root()
        .split(f.x, xo, xi, 1)
        .split(f.p, po, pi, 1)
        .reorder(f.i, f.j, xi, pi, xo, po, f.h, f.b)
        .fuse(xo, po, task)
        .fuse(task, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task);
    // A Func of its own: atomic() on a parallel one would lock every addition.
    for (Func *sum : {&f.sum, &f.sum_QQ, &f.sum_KK}) {
        if (sum->defined()) {
            sum->compute_at(f.span_sum, task)
                .bound_extent(f.x, 1)
                .bound_extent(f.p, 1)
                .update()
                .atomic()
                .vectorize(f.r_l, lanes);
        }
    }
    f.lanes_sum.compute_at(f.span_sum, task)
        .bound_extent(f.x, 1)
        .bound_extent(f.p, 1)
        .vectorize(f.l, lanes)
        .update()
        .split(f.i, io, ii, s.map_rows, TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.map_columns, TailStrategy::RoundUp)
        .reorder(f.l, ii, ji, io, jo, f.r_c)
        .vectorize(f.l, lanes)
        .unroll(ii)
        .unroll(ji);
    f.QK.compute_at(f.lanes_sum, io)
        .bound_extent(f.c, 1)
        .bound_extent(f.x, 1)
        .store_in(MemoryType::Register)
        .vectorize(f.l, lanes)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.l, f.i, f.j, f.r_v)
        .vectorize(f.l, lanes)
        .unroll(f.i)
        .unroll(f.j);
    for (Func *copy : {&f.Q, &f.K}) {
        copy->compute_at(f.lanes_sum, f.r_c)
            .bound_extent(f.c, 1)
            .bound_storage(f.u, s.chunk_row())
            .vectorize(f.u, lanes, TailStrategy::RoundUp);
    }
    f.Q.bound_extent(f.x, 1);
    if (f.QQ.defined()) {
        f.QQ.bound_extent(f.x, 1);
        for (Func *norm : {&f.QQ, &f.KK}) {
            norm->compute_at(f.lanes_sum, f.r_c)
                .bound_extent(f.c, 1)
                .vectorize(f.l, lanes)
                .update()
                .reorder(f.l, f.r_v)
                .vectorize(f.l, lanes);
        }
    }

    // Maps.
    f.P.compute_root()
        .align_bounds(f.channel, s.channel_group)
        .fuse(f.h, f.b, task)
        .parallel(task);
    f.S.compute_root()
        .fuse(f.h, f.b, task)
        .parallel(task)
        .update()
        .reorder(f.i, f.j, f.x, f.r_p, f.h, f.b)
        .fuse(f.h, f.b, task)
        .parallel(task);
    for (Func *row : {&f.M, &f.L}) {
        row->compute_root()
            .fuse(f.h, f.b, task)
            .parallel(task)
            .update()
            .reorder(f.i, f.r_j, f.x, f.h, f.b)
            .fuse(f.h, f.b, task)
            .parallel(task);
    }
    f.E.compute_root()
        .fuse(f.h, f.b, task)
        .parallel(task);
    // Rows past the end of a tile are there but mean nothing.
    f.S.vectorize(f.i, lanes, TailStrategy::RoundUp).update().vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.M.vectorize(f.i, lanes, TailStrategy::RoundUp).update().vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.L.vectorize(f.i, lanes, TailStrategy::RoundUp).update().vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.E.vectorize(f.i, lanes, TailStrategy::RoundUp);

    // Outputs. Shifted inwards, the last tokens and channels repeat a few of the ones before them instead of guarding each.
    const int tile_vectors = s.token_vectors * lanes;
    const auto order = [&](auto &&out, TailStrategy tail) {
        out.split(f.token, uo, ui, tile_vectors, tail)
            .split(uo, f.t, uo, s.tile_tokens / tile_vectors, TailStrategy::GuardWithIf)
            .split(f.channel, io, ii, s.channel_group, tail)
            .reorder(ui, ii, io, uo, f.t, f.h, f.b)
            .fuse(f.t, f.h, task)
            .fuse(task, f.b, task)
            .parallel(task)
            .vectorize(ui, lanes)
            .unroll(ui)
            .unroll(ii)
            .never_partition(task, uo);
    };
    order(f.out.specialize(f.whole_tile), TailStrategy::ShiftInwards);
    order(f.out, TailStrategy::GuardWithIf);
    f.V.compute_at(f.out, task)
        .vectorize(f.token, lanes, TailStrategy::RoundUp);
    f.PV.compute_at(f.out, io)
        .bound_extent(f.token, tile_vectors)
        .bound_extent(f.channel, s.channel_group)
        .bound_extent(f.h, 1)
        .bound_extent(f.b, 1)
        .store_in(MemoryType::Register)
        .vectorize(f.token, lanes)
        .unroll(f.token)
        .unroll(f.channel)
        .update()
        .reorder(f.token, f.channel, f.r_j)
        .vectorize(f.token, lanes)
        .unroll(f.token)
        .unroll(f.channel);
}

}  // namespace muattn
