// Order, tiles and vectors of maps between channels on channels-first arrays, on a CPU: the first part of channels_first_cpu.h, a chunk of
// tokens at a time. x is copied first: rows that are a power of two apart would share cache sets. Of y a few rows are read at a
// time, where they are.
#pragma once
#include "generators/channel_attention/channels_first_map.h"
#include "schedules/channel_attention/channels_first_map_numbers.h"

namespace muattn {

inline void schedule_channels_first_map_cpu(ChannelsFirstMapStages &f, const schedule::ChannelsFirstMap &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii"), jo("jo"), ji("ji");

    f.out.specialize(f.holds_vector)
        .vectorize(f.i, lanes, TailStrategy::ShiftInwards);
    f.S.compute_root()
        .split(f.j, jo, ji, s.map_columns, TailStrategy::RoundUp)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.S.update()
        .split(f.i, io, ii, s.map_rows, TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.map_columns, TailStrategy::RoundUp)
        .reorder(ii, ji, io, jo, f.r_c)
        .unroll(ii)
        .unroll(ji);
    // Lanes are added up in halves, those of map_rows rows together: those of one row alone would be added one by one.
    const auto together = [&](auto &&stage) { s.sum_together ? stage.vectorize(f.i) : stage.unroll(f.i); };
    for (auto *sums : {&f.copied, &f.in_place}) {
        sums->chunk.compute_at(f.S, io)
            .bound_extent(f.c, 1)
            .store_in(MemoryType::Register)
            .unroll(f.j)
            .update()
            .atomic()
            .reorder(f.r_l, f.i, f.j)
            .vectorize(f.r_l, lanes)
            .unroll(f.j);
        together(sums->chunk);
        together(sums->chunk.update());
        sums->products.compute_at(f.S, io)
            .bound_extent(f.c, 1)
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
    for (Func *copy : {&f.X, &f.Y}) {
        copy->compute_at(f.S, f.r_c)
            .bound_extent(f.c, 1)
            .bound_storage(f.u, s.chunk_row())
            .vectorize(f.u, lanes, TailStrategy::RoundUp);
    }
}

}  // namespace muattn
