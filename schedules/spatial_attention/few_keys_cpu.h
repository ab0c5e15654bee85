// Order, tiles, vectors and threads of the short variant of spatial attention on a CPU.
//
// One task is a tile of queries of one head. It copies all of K (transposed, in vectors of keys) and V (in vectors of
// columns), then takes a block of rows at a time through logits, softmax and P V, so that the block's S and P stay in cache.
#pragma once
#include <vector>

#include "Halide.h"
#include "few_keys_numbers.h"

namespace muattn {

struct SpatialFewKeysStages {
    // Lane: l. Vector of keys, or of columns: z. Key: j. Column: e. Query: row.
    Halide::Var l{"l"}, z{"z"}, j{"j"}, e{"e"}, row{"row"}, h{"h"}, b{"b"};

    Halide::Func K_rows{"K_rows"};         // (e, l, z, h, b)    keys
    Halide::Func K{"K"};                   // (l, e, z, h, b)    keys times scale, transposed
    std::vector<Halide::Func> QK;          // (l, z, row, h, b)  dot products, by each register tile
    std::vector<Halide::Expr> key_tile;    // conditions: the first that holds chooses the tile for QK, none the last
    Halide::Expr same_mask_rows;           // condition: every row has the same row of the mask
    Halide::Expr dense_mask;               // condition: the mask has a number for each key, and they are contiguous
    Halide::Func bias{"bias"};             // (j, row, h, b)     what the mask adds to a logit, in units of log 2
    Halide::Func S{"S"};                   // (l, z, row, h, b)  logits in units of log 2, masked
    Halide::Func lane_max{"lane_max"};     // (l, row, h, b)     maximum over every lanes-th key
    Halide::Func M{"M"};                   // (row, h, b)        row maximum
    Halide::Func P{"P"};                   // (l, z, row, h, b)  2^(S - M)
    Halide::Func lane_sum{"lane_sum"};     // (l, row, h, b)     sum over every lanes-th key
    Halide::Func L{"L"};                   // (row, h, b)        row sum of P
    Halide::Func V{"V"};                   // (l, j, z, h, b)    values
    Halide::Func R{"R"};                   // (row, h, b)        what a row of P V is multiplied with
    std::vector<Halide::Func> PV;          // (l, z, row, h, b)  P V, by each register tile
    std::vector<Halide::Expr> value_tile;  // as key_tile, for PV
    Halide::Func O{"O"};                   // (l, z, row, h, b)  the normalised output
    Halide::Func LSE{"LSE"};               // (row, h, b)        natural logarithm of the row sum
    Halide::Func out{"out"};               // (e, row, h, b)     the output, with or without lse
};

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
        for (size_t i = 0; i < s.tiles().size(); i++) {
            (i < conditions.size() ? stage.specialize(conditions[i]) : stage)
                .split(f.row, ro, ri, s.tiles()[i].rows, TailStrategy::RoundUp)
                .split(f.z, zo, zi, s.tiles()[i].vectors, TailStrategy::RoundUp)
                .reorder(f.l, zi, ri, ro, zo)
                .vectorize(f.l)
                .unroll(zi)
                .unroll(ri)
                .never_partition_all();
        }
    };
    if (f.bias.defined()) {
        RVar ko("ko"), ki("ki");
        in_tiles(f.S.specialize(f.same_mask_rows), f.key_tile);
        f.bias.compute_at(f.out, x)
            .update()
            .split(f.bias.rvars(0)[0], ko, ki, lanes, TailStrategy::GuardWithIf)
            .vectorize(ki)
            .specialize(f.dense_mask);
    }
    in_tiles(f.S, f.key_tile);
    in_tiles(f.O, f.value_tile);
    for (size_t i = 0; i < s.tiles().size(); i++) {
        register_tile(f.QK[i].compute_at(f.S, ro), s.tiles()[i]);
        register_tile(f.PV[i].compute_at(f.O, ro), s.tiles()[i]);
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
