// Order, tiles, vectors and threads of spatial attention for few keys on a CPU.
//
// One task is a tile of queries of one head. It copies all of K (transposed, in vectors of keys) and V (in vectors of
// columns), then takes a block of rows at a time through logits, softmax and P V, so that the block's S and P stay in cache.
#pragma once
#include <vector>
#include "generators/spatial_attention/few_keys.h"
#include "schedules/spatial_attention/few_keys_numbers.h"

namespace muattn {

inline void schedule_spatial_few_keys_cpu(SpatialFewKeysStages &f,
                                          const schedule::SpatialFewKeys &s) {
    using namespace Halide;
    using Tile = schedule::SpatialFewKeys::Tile;
    const int lanes = s.lanes, side = s.transpose_side();
    Var task("task"), x("x"), ro("ro"), ri("ri"), eo("eo"), ei("ei"), lo("lo"), li("li"), zo("zo"), zi("zi");

    f.out.split(f.row, x, ri, s.block_rows, TailStrategy::GuardWithIf)
        .split(x, task, x, s.tile_blocks, TailStrategy::GuardWithIf)
        .reorder(f.e, ri, x, task, f.h, f.b)
        .fuse(task, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.e, lanes, TailStrategy::GuardWithIf)
        .never_partition(task, x, ri);

    f.K.compute_at(f.out, task)
        .split(f.e, eo, ei, side, TailStrategy::RoundUp)
        .split(f.l, lo, li, side)
        .reorder(li, ei, eo, lo, f.z)
        .vectorize(li)
        .unroll(ei);
    f.K_rows.compute_at(f.K, eo)
        .bound_extent(f.e, side)
        .bound_extent(f.l, side)
        .bound_extent(f.z, 1)
        .align_storage(f.e, s.transpose_row())
        .vectorize(f.e)
        .unroll(f.l);
    f.V.compute_at(f.out, task)
        .vectorize(f.l);
    for (Func *stage : {&f.S, &f.lane_max, &f.P, &f.lane_sum, &f.O}) {
        stage->compute_at(f.out, x);
    }
    for (Func *in_lanes : {&f.K, &f.V, &f.S, &f.lane_max, &f.P, &f.lane_sum, &f.O}) {
        in_lanes->bound_extent(f.l, lanes);
    }

    // Of the tile's vectors and rows the fewer stay in registers for each summed index, and the others pass by.
    const auto register_tile = [&](Func &product, const Tile &tile) {
        const RVar summed = product.rvars(0)[0];
        const bool keep_rows = tile.rows <= tile.vectors;
        product.store_in(MemoryType::Register)
            .bound_extent(f.l, lanes)
            .bound_extent(f.z, tile.vectors)
            .bound_extent(f.row, tile.rows)
            .bound_extent(f.h, 1)
            .bound_extent(f.b, 1)
            .vectorize(f.l)
            .unroll(f.z)
            .unroll(f.row)
            .update()
            .reorder(f.l, keep_rows ? f.row : f.z, keep_rows ? f.z : f.row, summed)
            .vectorize(f.l)
            .unroll(f.z)
            .unroll(f.row);
    };
    const auto in_tiles = [&](Stage stage, const std::vector<Expr> &conditions) {
        for (size_t i = 0; i < f.QK.size(); i++) {
            (i < conditions.size() ? stage.specialize(conditions[i]) : stage)
                .split(f.row, ro, ri, s.tiles().tile[i].rows, TailStrategy::RoundUp)
                .split(f.z, zo, zi, s.tiles().tile[i].vectors, TailStrategy::RoundUp)
                .reorder(f.l, zi, ri, ro, zo)
                .vectorize(f.l)
                .unroll(zi)
                .unroll(ri)
                .never_partition_all();
        }
    };
    if (f.bias.defined()) {
        f.bias.compute_at(f.out, x)
            .vectorize(f.j, lanes, TailStrategy::RoundUp)
            .specialize(f.dense_mask);
    }
    in_tiles(f.S, f.key_tile);
    in_tiles(f.O, f.value_tile);
    for (size_t i = 0; i < f.QK.size(); i++) {
        register_tile(f.QK[i].compute_at(f.S, ro), s.tiles().tile[i]);
        register_tile(f.PV[i].compute_at(f.O, ro), s.tiles().tile[i]);
    }

    for (Func *stage : {&f.lane_max, &f.lane_sum}) {
        stage->vectorize(f.l)
            .unroll(f.row, s.kReducedRows, TailStrategy::RoundUp)
            .update()
            .split(f.row, ro, ri, s.kReducedRows, TailStrategy::RoundUp)
            .reorder(f.l, ri, stage->rvars(0)[0], ro)
            .vectorize(f.l)
            .unroll(ri);
    }
    for (Func *stage : {&f.M, &f.L}) {
        stage->compute_at(f.out, x);
        const RVar lane = stage->rvars(0)[0];
        if (s.sum_together()) {  // in halves, the lanes of several rows together: those of one row alone would be added one by one
            stage->vectorize(f.row, s.kReducedRows, TailStrategy::RoundUp)
                .update()
                .reorder(lane, f.row)
                .vectorize(f.row, s.kReducedRows, TailStrategy::RoundUp)
                .atomic()
                .vectorize(lane);
        } else {
            stage->update().unroll(lane);
        }
    }
    f.R.compute_at(f.out, x)
        .vectorize(f.row, s.kReducedRows, TailStrategy::RoundUp);
    f.P.vectorize(f.l);
    if (f.LSE.defined()) {
        f.LSE.compute_at(f.out, x)
            .vectorize(f.row, s.kReducedRows, TailStrategy::RoundUp);
    }
}

}  // namespace muattn
