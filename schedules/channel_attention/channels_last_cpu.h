// Order, tiles, vectors and threads of channel attention on a CPU.
//
// Map rows (channels of Q) lie in the vector lanes everywhere: rows of Q and of the output are contiguous in them, keys and
// values are broadcast, and the softmax needs no horizontal step. One task is a tile of map rows of one head. It reads Q
// and K a chunk of tokens at a time, adding the chunk's products to the tile's map, then V a chunk of tokens at a time. Where
// columns are normalised, it reads its channels of Q and all of K once more for their norms.
#pragma once
#include "generators/channel_attention/channels_last.h"
#include "schedules/channel_attention/channels_last_numbers.h"

namespace muattn {

inline void schedule_channels_last_cpu(ChannelsLastStages &f, const schedule::ChannelsLast &s) {
    using namespace Halide;
    const int lanes = s.lanes, block = s.block_rows();
    Var task("task"), x("x"), io("io"), ii("ii"), jo("jo"), ji("ji"), to("to"), ti("ti");

    // An accumulator for every vector of rows and every one of the across: for each summed index load the fewer of the two,
    // then go through the others, so that no more than one of them needs a register.
    const auto register_tile = [&](Func &product, const Var &across, int count, const RVar &summed) {
        product.bound_extent(f.i, block)
            .bound_extent(across, count)
            .bound_extent(f.h, 1)
            .bound_extent(f.b, 1)
            .store_in(MemoryType::Register)
            .vectorize(f.i, lanes)
            .unroll(f.i)
            .unroll(across)
            .update()
            .split(f.i, io, ii, lanes)
            .vectorize(ii)
            .unroll(io)
            .unroll(across);
        if (s.row_vectors < count) {
            product.update().reorder(ii, io, across, summed);
        } else {
            product.update().reorder(ii, across, io, summed);
        }
    };
    // Shifted inwards, the last block and the last tokens repeat a few of the ones before them instead of guarding each.
    const auto order = [&](auto &&out, TailStrategy tail, bool in_registers) {
        out.split(f.i, io, ii, block, tail)
            .split(io, x, io, s.tile_blocks, TailStrategy::GuardWithIf)
            .split(f.token, to, ti, s.token_unroll, tail)
            .split(to, f.c, to, s.chunk_tokens / s.token_unroll, TailStrategy::GuardWithIf)
            .reorder(ii, ti, to, io, f.c, x, f.h, f.b)
            .fuse(x, f.h, task)
            .fuse(task, f.b, task)
            .parallel(task)
            .vectorize(ii, lanes)
            .unroll(ii)
            .never_partition(task, f.c, io);
        if (in_registers) {
            out.unroll(ti);
        }
    };
    order(f.out.specialize(f.whole_block && f.many_columns), TailStrategy::ShiftInwards, false);
    order(f.out.specialize(f.whole_block && !f.many_columns), TailStrategy::ShiftInwards, true);
    order(f.out, TailStrategy::GuardWithIf, true);
    f.O_sum.compute_at(f.out, io)
        .bound_extent(f.i, block)
        .split(f.token, to, ti, s.token_unroll, TailStrategy::RoundUp)
        .vectorize(f.i, lanes)
        .update()
        .split(f.i, io, ii, lanes)
        .split(f.token, to, ti, s.token_unroll, TailStrategy::RoundUp)
        .reorder(ii, io, ti, to, f.r_cj)
        .vectorize(ii)
        .unroll(io)
        .unroll(ti)
        .never_partition(to, f.r_cj);
    register_tile(f.O_columns.compute_at(f.O_sum, to).bound_extent(f.c, 1), f.token, s.token_unroll, f.O_columns.rvars(0)[0]);
    register_tile(f.O.compute_at(f.out, to), f.token, s.token_unroll, f.r_j);
    const auto in_blocks = [&](auto &&stage, const Var &channel, int channels) {
        stage.split(channel, io, ii, channels, TailStrategy::RoundUp)
            .vectorize(ii, lanes)
            .unroll(ii);
    };
    // The map in whole blocks of rows, from its first stage on: what reads it multiplies, and what was not written may be numbers
    // below 2^-126, which take Intel's processors a hundred cycles.
    const auto whole_blocks = [&](Func &stage) { in_blocks(stage.compute_at(f.out, task), stage.args()[0], block); };
    whole_blocks(f.S);
    f.S.split(f.j, jo, ji, s.column_group, TailStrategy::RoundUp)
        .reorder(ii, io, ji, jo);
    f.S.update()
        .split(f.i, io, ii, block, TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.column_group, TailStrategy::RoundUp)
        .reorder(ii, ji, jo, io, f.r_c)
        .vectorize(ii, lanes)
        .unroll(ii)
        .unroll(ji)
        .never_partition(jo, io, f.r_c);
    f.S.update().specialize(f.tokens_in_place);
    for (Func *products : {&f.QK_in_place, &f.QK_copied}) {
        register_tile(products->compute_at(f.S, jo).bound_extent(f.c, 1), f.j, s.column_group, f.r_u);
    }
    f.Q.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .align_bounds(f.i, lanes)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.K.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .align_bounds(f.j, lanes)
        .vectorize(f.j, lanes, TailStrategy::RoundUp);

    // A block of channels at once: one sum alone would wait for its last addition.
    for (auto *norms : {&f.Q_norms, &f.K_norms}) {
        if (!norms->inverse.defined()) {
            continue;
        }
        const Var channel = norms->sum.args()[0];
        whole_blocks(norms->inverse);
        norms->inverse.specialize(f.whole_vectors);
        norms->sum.compute_at(f.out, task)
            .align_bounds(channel, block)
            .vectorize(channel, lanes, TailStrategy::RoundUp);
        in_blocks(norms->sum.update().reorder(channel, f.r_c).specialize(f.holds_vector), channel, block);
        in_blocks(norms->sum.update(), channel, lanes);  // a part of one vector
        norms->chunk.compute_at(norms->sum, io)
            .bound_extent(f.c, 1)
            .align_bounds(channel, lanes)
            .store_in(MemoryType::Register)
            .vectorize(channel, lanes)
            .unroll(channel)
            .update()
            .split(channel, io, ii, lanes)
            .reorder(ii, io, f.r_u)
            .vectorize(ii)
            .unroll(io);
    }

    whole_blocks(f.P);
    whole_blocks(f.R);
    // A block of rows at once, in registers.
    for (Func *row : {&f.M, &f.L}) {
        whole_blocks(*row);
        in_blocks(row->update(), f.i, block);
        row->update().reorder(ii, f.r_j, io);
    }
}

}  // namespace muattn
