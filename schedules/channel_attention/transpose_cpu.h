// Order and vectors of a transposed map on a CPU: blocks of 4 vectors of 4.
#pragma once
#include "generators/channel_attention/transpose.h"
#include "schedules/channel_attention/map_rows_numbers.h"

namespace muattn {

inline void schedule_channel_transpose_cpu(ChannelTransposeStages &f, const schedule::ChannelMapRows &s, bool scalable) {
    using namespace Halide;
    const int side = s.transpose_side();
    Var io("io"), ii("ii"), jo("jo"), ji("ji");

    const auto in_blocks = [&](auto &&out, TailStrategy tail) {
        out.split(f.i, io, ii, side, tail)
            .split(f.j, jo, ji, side, tail)
            .reorder(ii, ji, io, jo)
            .vectorize(ii)
            .unroll(ji);
    };
    in_blocks(f.out.specialize(f.holds_block), TailStrategy::ShiftInwards);
    in_blocks(f.out, TailStrategy::GuardWithIf);
    f.block.compute_at(f.out, io)
        .bound_extent(f.j, side)
        .bound_extent(f.i, side)
        .align_storage(f.j, s.transpose_row(scalable))
        .vectorize(f.j)
        .unroll(f.i);
}

}  // namespace muattn
