// The order of spatial attention on a GPU: a thread block per block of rows, and per span of the keys where they are split; K and V
// staged in shared memory, both products in registers, thread_rows rows by thread_keys keys or thread_columns columns.
#pragma once
#include "generators/spatial_attention/block.h"
#include "schedules/spatial_attention/block_numbers.h"

namespace muattn {

inline void schedule_spatial_block_gpu(SpatialBlockStages &f,
                                       const schedule::SpatialBlock &s, int max_d, bool split) {
    using namespace Halide;
    Var map("map"), whole("whole"), block("block"), tx("tx"), ty("ty"), xi("xi"), yi("yi");
    const int columns = s.thread_columns, rows = s.thread_rows, keys = s.thread_keys(), groups = s.threads_x();

    // The output: one thread for a group of columns of some rows.
    f.out.split(f.e, whole, xi, max_d, TailStrategy::GuardWithIf)
        .split(xi, tx, xi, columns)
        .split(f.y, block, yi, s.block_rows, TailStrategy::GuardWithIf)
        .split(yi, ty, yi, rows)
        .fuse(f.h, f.b, map)
        .fuse(whole, block, block)
        .reorder(xi, yi, tx, ty, block, map)
        .unroll(xi)
        .unroll(yi)
        .gpu_blocks(block, map)
        .gpu_threads(tx, ty);

    // Where the blocks of keys are met.
    Func &last = split ? f.partial : f.out;
    Var at = block;
    if (split) {
        Var task("task");
        f.partial.compute_root()
            .bound(f.i, 0, columns + 2)
            .bound(f.g, 0, groups)
            .reorder_storage(f.g, f.i, f.y, f.p, f.h, f.b)
            .align_bounds(f.y, s.block_rows)
            .split(f.y, block, yi, s.block_rows)
            .split(yi, ty, yi, rows)
            .fuse(f.h, f.b, map)
            .fuse(f.p, block, task)
            .reorder(f.i, yi, f.g, ty, task, map)
            .unroll(f.i)
            .unroll(yi)
            .gpu_blocks(task, map)
            .gpu_threads(f.g, ty);
        at = task;
        for (Func *stage : {&f.top, &f.merged}) {
            stage->compute_at(f.out, tx)
                .bound_extent(f.g, 1)
                .bound_extent(f.y, rows)
                .bound_extent(f.h, 1)
                .bound_extent(f.b, 1)
                .store_in(MemoryType::Register)
                .unroll(f.y)
                .update()
                .reorder(f.y, f.r_p)
                .unroll(f.y);
        }
    }

    f.state.compute_at(last, at).bound_extent(f.g, groups).bound_extent(f.y, s.block_rows).store_in(MemoryType::GPUShared);
    f.state.split(f.y, ty, yi, rows).reorder(yi, f.g, ty).unroll(yi).gpu_threads(f.g, ty);
    f.state.update().split(f.y, ty, yi, rows).reorder(yi, f.g, ty, f.r_c).unroll(yi).gpu_threads(f.g, ty);

    // Copies, neighbouring threads taking neighbouring columns.
    const auto staged = [&](Func &copy, const Var &row, int count) {
        copy.bound_extent(f.e, max_d)
            .bound_extent(row, count)
            .store_in(MemoryType::GPUShared)
            .split(f.e, xi, tx, groups)
            .split(row, yi, ty, s.threads_y(), TailStrategy::GuardWithIf)
            .reorder(xi, yi, tx, ty)
            .unroll(xi)
            .gpu_threads(tx, ty);
    };
    staged(f.Q.compute_at(last, at).align_storage(f.e, max_d + s.padding), f.y, s.block_rows);
    staged(f.K.compute_at(f.state, f.r_c).align_storage(f.e, max_d + s.padding), f.j, s.block_keys);
    staged(f.V.compute_at(f.state, f.r_c), f.j, s.block_keys);

    // Logits and their powers: a tile of rows by keys to a thread.
    const auto tiled = [&](Func &stage) {
        stage.compute_at(f.state, f.r_c)
            .bound_extent(f.y, s.block_rows)
            .bound_extent(f.j, s.block_keys)
            .align_storage(f.j, s.block_keys + s.padding)
            .store_in(MemoryType::GPUShared)
            .split(f.y, ty, yi, rows)
            .split(f.j, tx, xi, keys)
            .reorder(xi, yi, tx, ty)
            .unroll(xi)
            .unroll(yi)
            .gpu_threads(tx, ty);
    };
    tiled(f.S);
    tiled(f.P);
    RVar r_eo("r_eo"), r_ei("r_ei");
    f.QK.compute_at(f.S, tx)
        .bound_extent(f.y, rows)
        .bound_extent(f.j, keys)
        .store_in(MemoryType::Register)
        .unroll(f.j)
        .unroll(f.y);
    f.QK.update().split(f.r_e, r_eo, r_ei, s.thread_keys() > 2 ? 4 : 8).reorder(r_ei, f.j, f.y, r_eo).unroll(r_ei).unroll(f.j).unroll(f.y);

    // Per row: first the keys of a thread's tile, then those of the block.
    for (Func *stage : {&f.M_group, &f.L_group}) {
        stage->compute_at(f.state, f.r_c)
            .bound_extent(f.y, s.block_rows)
            .bound_extent(f.u, groups)
            .align_storage(f.u, groups + 1)
            .store_in(MemoryType::GPUShared)
            .split(f.y, ty, yi, rows)
            .reorder(yi, f.u, ty)
            .unroll(yi)
            .gpu_threads(f.u, ty);
        stage->update().split(f.y, ty, yi, rows).reorder(f.r_k, yi, f.u, ty).unroll(f.r_k).unroll(yi).gpu_threads(f.u, ty);
    }
    for (Func *stage : {&f.M, &f.L}) {
        stage->compute_at(f.state, f.r_c)
            .bound_extent(f.y, s.block_rows)
            .store_in(MemoryType::GPUShared)
            .split(f.y, ty, yi, rows)
            .gpu_threads(yi, ty);
        stage->update().split(f.y, ty, yi, rows).reorder(f.r_u, yi, ty).unroll(f.r_u).gpu_threads(yi, ty);
    }

    // Sums of P V, and the same again where values of hidden keys have to be taken out.
    const auto summed = [&](Func &stage, const RVar &key, int unrolled_keys) {
        RVar r_jo("r_jo"), r_ji("r_ji");
        stage.compute_at(f.state, f.g)
            .bound_extent(f.y, rows)
            .bound_extent(f.e, columns)
            .store_in(MemoryType::Register)
            .unroll(f.e)
            .unroll(f.y)
            .update(stage.num_update_definitions() - 1)
            .split(key, r_jo, r_ji, unrolled_keys)
            .reorder(f.e, f.y, r_ji, r_jo)
            .unroll(f.e)
            .unroll(f.y)
            .unroll(r_ji);
    };
    summed(f.PV_plain, f.r_j, 2);
    summed(f.PV, f.r_guarded, 1);
    f.PV.update(0).unroll(f.e).unroll(f.y);
    f.greatest.compute_at(f.state, f.g)
        .bound_extent(f.g, 1)
        .bound_extent(f.w, 1)
        .store_in(MemoryType::Register)
        .update()
        .unroll(f.r_i);

    // Everything belongs to one block of rows and, but for Q and the state, to one block of keys.
    for (Func *stage : {&f.Q, &f.K, &f.V, &f.QK, &f.S, &f.M_group, &f.M, &f.P, &f.L_group, &f.L, &f.PV_plain, &f.greatest, &f.PV,
                        &f.state}) {
        for (const Var &one : stage->defined() ? stage->args() : std::vector<Var>()) {
            for (const Var *outer : {&f.c, &f.p, &f.x, &f.h, &f.b}) {
                if (one.same_as(*outer)) {
                    stage->bound_extent(one, 1);
                }
            }
        }
    }

    // Loops are not to be split at their edges: lavapipe runs such code wrongly, and it is large.
    for (Func *stage : {&f.out, &f.partial, &f.top, &f.merged, &f.state, &f.Q, &f.K, &f.V, &f.QK, &f.S, &f.M_group, &f.M, &f.P,
                        &f.L_group, &f.L, &f.PV_plain, &f.greatest, &f.PV}) {
        if (!stage->defined()) {
            continue;
        }
        stage->never_partition_all();
        for (int update = 0; update < stage->num_update_definitions(); update++) {
            stage->update(update).never_partition_all();
        }
    }
}

}  // namespace muattn
