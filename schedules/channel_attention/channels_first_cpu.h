// Order, tiles, vectors and threads of channels-first channel attention on a CPU, in three parallel steps: partial maps
// (a task is a tile of rows of one span), maps (a tile of rows of one head), outputs (a tile of tokens of one head). Q
// and V are copied first, a chunk of tokens at a time: rows that are a power of two apart would share cache sets. Of K
// a few rows are read at a time, where they are.
#pragma once
#include "generators/channel_attention/channels_first.h"
#include "schedules/channel_attention/channels_first_numbers.h"

namespace muattn {

inline void schedule_channels_first_cpu(ChannelsFirstStages &f, const schedule::ChannelsFirst &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var task("task"), io("io"), ii("ii"), jo("jo"), ji("ji"), uo("uo"), ui("ui"), xo("xo"), xi("xi"), po("po"), pi("pi");

    // Partial maps. Arguments are split by one before they are fused, here and in the maps: bounds inference sees through a
    // split, not through a fused argument. Rows past the end of a tile are there, to fill vectors, but mean nothing.
    f.span_sum.compute_root()
        .split(f.x, xo, xi, 1)
        .split(f.p, po, pi, 1)
        .reorder(f.i, f.j, xi, pi, xo, po, f.h, f.b)
        .fuse(xo, po, task)
        .fuse(task, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.sum.compute_at(f.span_sum, task)
        .bound_extent(f.x, 1)
        .bound_extent(f.p, 1)
        .update()
        .split(f.i, io, ii, s.map_rows, TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.map_columns, TailStrategy::RoundUp)
        .reorder(ii, ji, io, jo, f.r_c)
        .unroll(ii)
        .unroll(ji);
    // Lanes are added up in halves, those of map_rows rows together: those of one row alone would be added one by one.
    const auto together = [&](auto &&stage) { s.sum_together ? stage.vectorize(f.i) : stage.unroll(f.i); };
    // QK_chunk, QQ_chunk and KK_chunk are Funcs of their own: atomic() on a parallel one would lock every addition.
    for (auto *sums : {&f.copied, &f.in_place}) {
        sums->QK_chunk.compute_at(f.sum, io)
            .bound_extent(f.c, 1)
            .bound_extent(f.x, 1)
            .store_in(MemoryType::Register)
            .unroll(f.j)
            .update()
            .atomic()
            .reorder(f.r_l, f.i, f.j)
            .vectorize(f.r_l, lanes)
            .unroll(f.j);
        together(sums->QK_chunk);
        together(sums->QK_chunk.update());
        sums->QK.compute_at(f.sum, io)
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
    }
    for (Func *copy : {&f.Q, &f.K}) {
        copy->compute_at(f.sum, f.r_c)
            .bound_extent(f.c, 1)
            .bound_storage(f.u, s.chunk_row())
            .vectorize(f.u, lanes, TailStrategy::RoundUp);
    }
    f.Q.bound_extent(f.x, 1);
    if (f.QQ.defined()) {
        // Several rows at once: one sum alone would wait for its last addition.
        const auto norm = [&](Func &sum, Func &lanes_added, int rows, const VarOrRVar &at) {
            sum.compute_at({f.sum, at})
                .bound_extent(f.c, 1)
                .vectorize(f.l, lanes)
                .update()
                .split(sum.args()[1], io, ii, rows, TailStrategy::RoundUp)
                .reorder(f.l, ii, f.r_v, io)
                .vectorize(f.l, lanes)
                .unroll(ii);
            lanes_added.compute_at({f.sum, at})
                .bound_extent(f.c, 1)
                .update()
                .atomic()
                .vectorize(f.r_l, lanes);
        };
        norm(f.QQ.bound_extent(f.x, 1), f.QQ_chunk.bound_extent(f.x, 1), s.map_rows, f.r_c.x);
        // Of the rows that the products read next: where K is, it may be far.
        for (auto *sums : {&f.copied, &f.in_place}) {
            norm(sums->KK, sums->KK_chunk, s.map_columns, jo);
        }
    }

    // Maps.
    Var ho("ho"), hi("hi"), bo("bo"), bi("bi");
    f.P.compute_root()
        .align_bounds(f.channel, s.channel_group)
        .split(f.channel, xo, ii, s.tile_rows(), TailStrategy::GuardWithIf)
        .split(f.h, ho, hi, 1)
        .split(f.b, bo, bi, 1)
        .reorder(ii, f.j, hi, bi, xo, ho, bo)
        .fuse(xo, ho, task)
        .fuse(task, bo, task)
        .parallel(task)
        .vectorize(ii, lanes, TailStrategy::GuardWithIf);
    for (Func *map : {&f.S, &f.E}) {
        map->compute_at(f.P, task)
            .bound_extent(f.x, 1)
            .bound_extent(f.h, 1)
            .bound_extent(f.b, 1)
            .vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    f.S.update()
        .reorder(f.i, f.j, f.x, f.r_p)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    for (Func *row : {&f.M, &f.L}) {
        row->compute_at(f.P, task)
            .vectorize(f.i, lanes, TailStrategy::RoundUp)
            .update()
            .reorder(f.i, f.r_j)
            .vectorize(f.i, lanes, TailStrategy::RoundUp);
    }
    f.R.compute_at(f.P, task)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    if (f.rq.defined()) {
        for (Func *norm : {&f.S_QQ, &f.S_KK}) {
            const Var x = norm->args()[0];
            norm->compute_at(f.P, task)
                .vectorize(x, lanes, TailStrategy::RoundUp)
                .update()
                .reorder(x, f.r_p)
                .vectorize(x, lanes, TailStrategy::RoundUp);
        }
        for (Func *inverse : {&f.rq, &f.rk}) {
            inverse->compute_at(f.P, task)
                .vectorize(inverse->args()[0], lanes, TailStrategy::RoundUp);
        }
    }

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
