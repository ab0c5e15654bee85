// Order, tiles, vectors and threads of channel attention on a CPU.
//
// Map rows (channels of Q) lie in the vector lanes everywhere: rows of Q and of the output are contiguous in them, keys and
// values are broadcast, and the softmax needs no horizontal step. One task is a tile of map rows of one head. It reads Q
// and K a chunk of tokens at a time, adding the chunk's products to the tile's map, then V a chunk of tokens at a time.
#pragma once
#include "channel_attention_schedule.h"
#include "generators/channel_attention.h"

namespace muattn {

inline void schedule_channel_attention_cpu(ChannelAttentionStages &f, const schedule::ChannelAttentionSchedule &s) {
    using namespace Halide;
    const int lanes = s.lanes, block = s.block_rows();
    Var task("task"), io("io"), ii("ii"), jo("jo"), ji("ji"), to("to"), ti("ti");

    f.out.split(f.channel, f.x, f.i, s.tile_rows(), TailStrategy::GuardWithIf)
        .split(f.token, f.c, f.u, s.chunk_tokens, TailStrategy::GuardWithIf)
        .reorder(f.i, f.u, f.c, f.x, f.h, f.b)
        .fuse(f.x, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.i, lanes, TailStrategy::GuardWithIf);
    f.R.compute_at(f.out, f.c)
        .bound_extent(f.x, 1)
        .split(f.i, io, ii, block, TailStrategy::RoundUp)
        .split(f.token, to, ti, s.token_unroll, TailStrategy::RoundUp)
        .reorder(ii, ti, to, io)
        .vectorize(ii, lanes)
        .unroll(ii)
        .unroll(ti);
    f.O.compute_at(f.R, to)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.token)
        .update()
        .reorder(f.i, f.token, f.r_j)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.token);

    f.S.compute_at(f.out, task)
        .bound_extent(f.x, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.S.update()
        .split(f.i, io, ii, block, TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.column_group, TailStrategy::RoundUp)
        .reorder(ii, ji, jo, io, f.r_c)
        .vectorize(ii, lanes)
        .unroll(ii)
        .unroll(ji);
    f.QK.compute_at(f.S, jo)
        .bound_extent(f.c, 1)
        .bound_extent(f.i, block)
        .bound_extent(f.j, s.column_group)
        .store_in(MemoryType::Register)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.i, f.j, f.r_u)
        .vectorize(f.i, lanes)
        .unroll(f.i)
        .unroll(f.j);
    f.Q.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.K.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .vectorize(f.j, lanes, TailStrategy::RoundUp);

    if (f.QQ.defined()) {
        for (Func *sum : {&f.QQ, &f.KK}) {
            Var channel = sum->args()[0];
            sum->compute_at(f.S, f.r_c)
                .bound_extent(f.c, 1)
                .vectorize(channel, lanes, TailStrategy::RoundUp)
                .update()
                .reorder(channel, f.r_u)
                .vectorize(channel, lanes, TailStrategy::RoundUp);
        }
        for (Func *inverse : {&f.rq, &f.rk}) {
            inverse->compute_at(f.out, task)
                .bound_extent(f.x, 1)
                .vectorize(inverse->args()[0], lanes, TailStrategy::RoundUp);
        }
    }

    f.M.compute_at(f.out, task)
        .bound_extent(f.x, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.P.compute_at(f.out, task)
        .bound_extent(f.x, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.L.compute_at(f.out, task)
        .bound_extent(f.x, 1)
        .vectorize(f.i, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.i, f.r_j)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
}

}  // namespace muattn
