// A first, plain order of channel attention on a GPU: the map, its softmax and the output in one kernel each, one thread
// per element. It shows that the algorithm serves both kinds of machine; it is not fast.
#pragma once
#include "channel_attention_schedule.h"
#include "generators/channel_attention.h"

namespace muattn {

inline void schedule_channel_attention_gpu(ChannelAttentionStages &f, const schedule::ChannelAttentionSchedule &s) {
    using namespace Halide;
    Var block_x("block_x"), block_y("block_y"), thread_x("thread_x"), thread_y("thread_y"), map("map");

    f.out.gpu_tile(f.i, f.token, block_x, block_y, thread_x, thread_y, 16, 8, TailStrategy::GuardWithIf)
        .fuse(f.h, f.b, map)
        .gpu_blocks(map);
    f.O.compute_at(f.out, thread_x);

    for (Func *stage : {&f.S, &f.P}) {
        stage->compute_root()
            .fuse(f.h, f.b, map)
            .gpu_tile(f.i, f.j, block_x, block_y, thread_x, thread_y, s.tile_rows(), 8, TailStrategy::GuardWithIf)
            .gpu_blocks(map);
    }
    f.S.update()
        .reorder(f.r_c, f.i, f.j, f.h, f.b)
        .fuse(f.h, f.b, map)
        .gpu_tile(f.i, f.j, block_x, block_y, thread_x, thread_y, s.tile_rows(), 8, TailStrategy::GuardWithIf)
        .gpu_blocks(map);
    f.QK.compute_at(f.S, f.r_c);
    for (Func *stage : {&f.M, &f.L}) {
        stage->compute_root()
            .fuse(f.h, f.b, map)
            .gpu_blocks(map)
            .gpu_threads(f.i);
        stage->update()
            .reorder(f.r_j, f.i, f.h, f.b)
            .fuse(f.h, f.b, map)
            .gpu_blocks(map)
            .gpu_threads(f.i);
    }
}

}  // namespace muattn
