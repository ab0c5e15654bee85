// Order, tiles and vectors of tokens times a matrix, on channels-last arrays, on a CPU: the second half of channels_last_cpu.h. Channels of the
// output lie in the vector lanes, tokens are broadcast.
#pragma once
#include "generators/channel_attention/channels_last_product.h"
#include "schedules/channel_attention/channels_last_product_numbers.h"

namespace muattn {

inline void schedule_channels_last_product_cpu(ChannelsLastProductStages &f, const schedule::ChannelsLastProduct &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii"), to("to"), ti("ti");

    // For each summed channel the fewer of the two are loaded, then the others go by, so that no more than one of them needs a register.
    const auto register_tile = [&](Func &product, const RVar &summed) {
        product.bound_extent(f.i, s.block())
            .bound_extent(f.t, s.token_unroll)
            .store_in(MemoryType::Register)
            .vectorize(f.i, lanes)
            .unroll(f.i)
            .unroll(f.t)
            .update()
            .split(f.i, io, ii, lanes)
            .vectorize(ii)
            .unroll(io)
            .unroll(f.t);
        if (s.row_vectors < s.token_unroll) {
            product.update().reorder(ii, io, f.t, summed);
        } else {
            product.update().reorder(ii, f.t, io, summed);
        }
    };
    // Shifted inwards, the last block and the last tokens repeat a few of the ones before them instead of guarding each.
    const auto order = [&](auto &&out, TailStrategy tail, bool in_registers) {
        out.split(f.i, io, ii, s.block(), tail)
            .split(f.t, to, ti, s.token_unroll, tail)
            .reorder(ii, ti, to, io)
            .vectorize(ii, lanes)
            .unroll(ii)
            .never_partition(to, io);
        if (in_registers) {
            out.unroll(ti);
        }
    };
    const auto in_blocks = [&](auto &&out) {
        order(out.specialize(f.whole_block && f.many_columns), TailStrategy::ShiftInwards, false);
        order(out.specialize(f.whole_block && !f.many_columns), TailStrategy::ShiftInwards, true);
        order(out, TailStrategy::GuardWithIf, true);
    };
    in_blocks(f.out.specialize(f.adds_z));
    in_blocks(f.out);
    register_tile(f.sum.compute_at(f.out, to), f.r_j);
    f.sum_of_blocks.compute_at(f.out, io)
        .bound_extent(f.i, s.block())
        .split(f.t, to, ti, s.token_unroll, TailStrategy::RoundUp)
        .vectorize(f.i, lanes)
        .update()
        .split(f.i, io, ii, lanes)
        .split(f.t, to, ti, s.token_unroll, TailStrategy::RoundUp)
        .reorder(ii, io, ti, to, f.r_cj)
        .vectorize(ii)
        .unroll(io)
        .unroll(ti)
        .never_partition(to, f.r_cj);
    register_tile(f.block_sum.compute_at(f.sum_of_blocks, to).bound_extent(f.c, 1), f.block_sum.rvars(0)[0]);
}

}  // namespace muattn
