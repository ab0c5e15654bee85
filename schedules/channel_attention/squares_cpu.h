// Order and vectors of sums of squares on a CPU: a vector of channels at a time, or, where channels come first, one channel in vectors of tokens.
#pragma once
#include "generators/channel_attention/squares.h"
#include "schedules/channel_attention/squares_numbers.h"

namespace muattn {

inline void schedule_channel_squares_cpu(ChannelSquaresStages &f, const schedule::ChannelSquares &s, bool channels_first) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii");

    if (channels_first) {
        f.sum.compute_root();
        f.of_chunk.compute_at(f.sum, f.r_c)
            .update()
            .atomic()
            .vectorize(f.r_l, lanes);
        f.part.compute_at(f.of_chunk, f.i)
            .store_in(MemoryType::Register)
            .vectorize(f.l, lanes)
            .update()
            .reorder(f.l, f.r_u)
            .vectorize(f.l, lanes);
        return;
    }
    const auto in_vectors = [&](auto &&out, TailStrategy tail) {
        out.split(f.i, io, ii, lanes, tail)
            .vectorize(ii);
    };
    in_vectors(f.out.specialize(f.holds_vector), TailStrategy::ShiftInwards);
    in_vectors(f.out, TailStrategy::GuardWithIf);
    f.sum.compute_at(f.out, io)
        .bound_extent(f.i, lanes)
        .vectorize(f.i)
        .update()
        .reorder(f.i, f.r_c)
        .vectorize(f.i);
    f.of_chunk.compute_at(f.sum, f.r_c)
        .bound_extent(f.i, lanes)
        .bound_extent(f.c, 1)
        .vectorize(f.i)
        .update()
        .reorder(f.i, f.r_l)
        .vectorize(f.i)
        .unroll(f.r_l);
    f.part.compute_at(f.sum, f.r_c)
        .bound_extent(f.i, lanes)
        .bound_extent(f.c, 1)
        .bound_extent(f.l, s.sums(false))
        .store_in(MemoryType::Register)
        .vectorize(f.i)
        .unroll(f.l)
        .update()
        .reorder(f.i, f.l, f.r_u)
        .vectorize(f.i)
        .unroll(f.l);
}

}  // namespace muattn
