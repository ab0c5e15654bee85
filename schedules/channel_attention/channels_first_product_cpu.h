// Order, tiles and vectors of tokens times a matrix, on channels-first arrays, on a CPU: the last part of channels_first_cpu.h. x is copied first:
// rows that are a power of two apart would share cache sets.
#pragma once
#include "generators/channel_attention/channels_first_product.h"
#include "schedules/channel_attention/channels_first_product_numbers.h"

namespace muattn {

inline void schedule_channels_first_product_cpu(ChannelsFirstProductStages &f, const schedule::ChannelsFirstProduct &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii"), to("to"), ti("ti");

    // Shifted inwards, the last tokens and channels repeat a few of the ones before them instead of guarding each.
    const auto order = [&](auto &&out, TailStrategy tail) {
        out.split(f.t, to, ti, s.group(), tail)
            .split(f.i, io, ii, s.channel_group, tail)
            .reorder(ti, ii, io, to)
            .vectorize(ti, lanes)
            .unroll(ti)
            .unroll(ii)
            .never_partition(to);
    };
    const auto in_tiles = [&](auto &&out) {
        order(out.specialize(f.whole_tile), TailStrategy::ShiftInwards);
        order(out, TailStrategy::GuardWithIf);
    };
    in_tiles(f.out.specialize(f.adds_z));
    in_tiles(f.out);
    f.X.compute_root()
        .align_bounds(f.t, s.group())
        .vectorize(f.t, lanes, TailStrategy::RoundUp);
    f.sum.compute_at(f.out, io)
        .bound_extent(f.t, s.group())
        .bound_extent(f.i, s.channel_group)
        .store_in(MemoryType::Register)
        .vectorize(f.t, lanes)
        .unroll(f.t)
        .unroll(f.i)
        .update()
        .reorder(f.t, f.i, f.r_j)
        .vectorize(f.t, lanes)
        .unroll(f.t)
        .unroll(f.i);
}

}  // namespace muattn
