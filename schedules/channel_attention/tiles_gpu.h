// The order of channel attention on a GPU, a kernel each: parts of the map, their sum, row maxima, powers, row sums, output. The
// first and the last are products in tiles: a thread block stages a step of both factors, and a thread sums a tile of its own
// in registers.
#pragma once
#include "generators/channel_attention/tiles.h"
#include "schedules/channel_attention/tiles_numbers.h"

namespace muattn {

// The sum over steps of product, thread block by thread block: total has a tile of rows by columns, of which product is a
// step's part, reduced over r.
inline void schedule_tile_product(Halide::Func &total, const Halide::Func &consumer, const Halide::Var &block, Halide::Func &product,
                                  const Halide::Var &row, const Halide::Var &column, int rows, int columns, const Halide::RDom &r,
                                  const Halide::RDom &steps, int thread) {
    using namespace Halide;
    Var tx("tx"), ty("ty"), xi("xi"), yi("yi");
    total.compute_at(consumer, block)
        .bound_extent(row, rows)
        .bound_extent(column, columns)
        .store_in(MemoryType::GPUShared)
        .split(row, tx, xi, thread)
        .split(column, ty, yi, thread)
        .reorder(xi, yi, tx, ty)
        .unroll(xi)
        .unroll(yi)
        .gpu_threads(tx, ty);
    total.update()
        .split(row, tx, xi, thread)
        .split(column, ty, yi, thread)
        .reorder(xi, yi, tx, ty, steps.x)
        .unroll(xi)
        .unroll(yi)
        .gpu_threads(tx, ty);
    product.compute_at(total, tx)
        .bound_extent(row, thread)
        .bound_extent(column, thread)
        .store_in(MemoryType::Register)
        .unroll(row)
        .unroll(column);
    RVar r_o("r_o"), r_i("r_i");
    product.update().split(r.x, r_o, r_i, 4).reorder(row, column, r_i, r_o).unroll(row).unroll(column).unroll(r_i);
}

// A factor's step, copied by all threads, neighbouring ones along inner, where memory is contiguous.
inline void schedule_staged(Halide::Func &copy, const Halide::Func &total, const Halide::RDom &steps, const Halide::Var &inner,
                            int inner_extent, const Halide::Var &outer, int outer_extent, int threads_x, int threads_y) {
    using namespace Halide;
    Var tx("tx"), ty("ty"), xi("xi"), yi("yi");
    copy.compute_at(total, steps.x)
        .bound_extent(inner, inner_extent)
        .bound_extent(outer, outer_extent)
        .store_in(MemoryType::GPUShared)
        .split(inner, xi, tx, threads_x)
        .split(outer, yi, ty, threads_y)
        .reorder(xi, yi, tx, ty)
        .unroll(xi)
        .gpu_threads(tx, ty);
}

inline void schedule_channel_tiles_gpu(ChannelTilesStages &f, const schedule::ChannelTiles &s,
                                       bool channels_first) {
    using namespace Halide;
    Var map("map"), block_x("block_x"), block_y("block_y"), tx("tx"), ty("ty"), xi("xi"), yi("yi");
    const int thread = s.thread_tile, threads = s.map_tile / thread, token_threads = s.token_tile / thread;
    const TailStrategy guard = TailStrategy::GuardWithIf;

    // Q^T K.
    Var task("task");
    f.QK.compute_root()
        .align_bounds(f.i, s.map_tile)
        .align_bounds(f.j, s.map_tile)
        .tile(f.i, f.j, block_x, block_y, xi, yi, s.map_tile, s.map_tile)
        .tile(xi, yi, tx, ty, xi, yi, thread, thread)
        .fuse(f.h, f.b, map)
        .fuse(block_x, block_y, task)
        .reorder(xi, yi, tx, ty, task, f.s, map)
        .unroll(xi)
        .unroll(yi)
        .gpu_blocks(task, f.s, map)
        .gpu_threads(tx, ty);
    schedule_tile_product(f.span, f.QK, task, f.product, f.i, f.j, s.map_tile, s.map_tile, f.r_u, f.r_t, thread);
    for (Func *factor : {&f.Q, &f.K}) {
        const Var &channel = factor == &f.Q ? f.i : f.j;
        factor->align_storage(channel, s.map_tile + s.padding);
        if (channels_first) {
            schedule_staged(*factor, f.span, f.r_t, f.u, s.step, channel, s.map_tile, threads, threads);
        } else {
            schedule_staged(*factor, f.span, f.r_t, channel, s.map_tile, f.u, s.step, threads, threads);
        }
    }

    // The map.
    for (Func *stage : {&f.S, &f.P}) {
        stage->compute_root().fuse(f.h, f.b, map).gpu_tile(f.i, f.j, block_x, block_y, tx, ty, 32, 4, guard).gpu_blocks(map);
    }
    const auto by_row = [&](Func &result, Func &sum, const Var &channel) {
        result.compute_root().fuse(f.h, f.b, map).gpu_tile(channel, block_x, tx, 32, guard).gpu_blocks(map);
        sum.compute_at(result, tx);
    };
    f.S_sum.compute_at(f.S, tx);
    by_row(f.M, f.M_max, f.i);
    by_row(f.R, f.L_sum, f.i);
    if (f.QQ.defined()) {
        by_row(f.QQ, f.QQ_sum, f.i);
        by_row(f.KK, f.KK_sum, f.j);
        for (Func *part : {&f.QQ_span, &f.KK_span}) {
            const Var &channel = part == &f.QQ_span ? f.i : f.j;
            part->in().compute_root().fuse(f.h, f.b, map).gpu_tile(channel, block_x, tx, 32, guard).gpu_blocks(f.s, map);
            part->compute_at(part->in(), tx);
        }
    }

    // P V^T.
    f.out.tile(f.i, f.token, block_x, block_y, xi, yi, s.map_tile, s.token_tile, guard)
        .tile(xi, yi, tx, ty, xi, yi, thread, thread)
        .fuse(f.h, f.b, map)
        .fuse(block_x, block_y, task)
        .reorder(xi, yi, tx, ty, task, map)
        .unroll(xi)
        .unroll(yi)
        .gpu_blocks(task, map)
        .gpu_threads(tx, ty);
    schedule_tile_product(f.O, f.out, task, f.PV, f.i, f.token, s.map_tile, s.token_tile, f.r_l, f.r_c, thread);
    f.P_step.align_storage(f.i, s.map_tile + s.padding);
    schedule_staged(f.P_step, f.O, f.r_c, f.i, s.map_tile, f.l, s.step, threads, token_threads);
    f.V_step.align_storage(f.l, s.step + s.padding);
    if (channels_first) {
        schedule_staged(f.V_step, f.O, f.r_c, f.token, s.token_tile, f.l, s.step, threads, token_threads);
    } else {
        schedule_staged(f.V_step, f.O, f.r_c, f.l, s.step, f.token, s.token_tile, threads, token_threads);
    }

    // What a thread block holds is of one map and span, and, but for the sums, of one step.
    for (Func *stage : {&f.Q, &f.K, &f.product, &f.span, &f.P_step, &f.V_step, &f.PV, &f.O}) {
        for (const Var &one : stage->args()) {
            for (const Var *outer : {&f.t, &f.s, &f.h, &f.b}) {
                if (one.same_as(*outer)) {
                    stage->bound_extent(one, 1);
                }
            }
        }
    }

    // Loops are not to be split at their edges: schedules/spatial_attention/block_gpu.h says why.
    for (Func *stage : {&f.Q, &f.K, &f.product, &f.span, &f.QK, &f.S, &f.M, &f.P, &f.R, &f.P_step, &f.V_step, &f.PV, &f.O, &f.out}) {
        stage->never_partition_all();
        for (int update = 0; update < stage->num_update_definitions(); update++) {
            stage->update(update).never_partition_all();
        }
    }
}

}  // namespace muattn
