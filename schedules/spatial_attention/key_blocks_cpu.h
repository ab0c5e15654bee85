// Order, tiles and vectors of spatial attention's gradients on a CPU. The loop over heads and parts of the keys is the runtime's.
//
// Keys lie in the lanes of P, dS, dK^T and dV^T, columns in those of dQ, which is added up where it is; queries are broadcast. So only what
// belongs to keys is transposed, once per block of keys: K^T, V^T, dK^T, dV^T. Q and dO are copied per block, so that their rows
// do not share places of the cache.
#pragma once
#include "generators/spatial_attention/key_blocks.h"
#include "schedules/spatial_attention/key_blocks_numbers.h"

namespace muattn {

inline void schedule_spatial_key_blocks_cpu(SpatialKeyBlocksStages &f, const schedule::SpatialKeyBlocks &s) {
    using namespace Halide;
    const int lanes = s.lanes, panel = s.panel(), side = s.transpose_side();
    const int iu = s.query_unroll, eu = s.column_unroll, ev = s.column_vectors * lanes, qu = s.row_unroll;
    Var jo("jo"), ji("ji"), io("io"), ii("ii"), eo("eo"), ei("ei");
    const RVar block_i = f.r.x, head = f.r.y, block_j = f.r.z;  // of all three domains

    f.D.compute_root();
    f.D_lanes.compute_at(f.D, f.i)
        .bound_extent(f.l, lanes)
        .vectorize(f.l)
        .update()
        .vectorize(f.l);
    f.lse2.compute_root()
        .vectorize(f.i, lanes, TailStrategy::RoundUp);

    // The nest.
    for (Func *of_keys : {&f.dKT, &f.dVT}) {
        of_keys->compute_root()
            .bound_extent(f.j, panel)
            .align_bounds(f.e, eu)
            .vectorize(f.j, lanes)
            .update()
            .split(f.e, eo, ei, eu, TailStrategy::RoundUp)
            .reorder(f.j, ei, eo, f.r.w, block_i, head, block_j)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(ei)
            .never_partition(head, block_j, block_i);
    }
    f.dQ.update()
        .split(f.e, eo, ei, ev, TailStrategy::GuardWithIf)
        .reorder(ei, f.r_q[4], f.r_q[3], eo, f.r_q.x, f.r_q.y, f.r_q.z)
        .vectorize(ei, lanes)
        .unroll(ei)
        .unroll(f.r_q[4])
        .never_partition(f.r_q.x, f.r_q.y, f.r_q.z);
    if (f.dM.defined()) {
        for (int part = 0; part < 2; part++) {
            RDom &domain = part == 0 ? f.r_mask : f.r_mask_end;
            Stage of_mask = f.dM.update(part);
            if (part == 0) {
                of_mask.reorder(f.l, domain[3], domain[4], domain.x, domain.y, domain.z)
                    .vectorize(f.l, lanes);
            } else {
                of_mask.reorder(domain[3], domain[4], domain.x, domain.y, domain.z);
            }
            of_mask.never_partition(domain.x, domain.y, domain.z)
                .compute_with(f.dQ.update(), domain.x);
        }
    }
    f.dKT.update().compute_with(f.dQ.update(), f.r_q.x);
    f.dVT.update().compute_with(f.dQ.update(), f.r_q.x);

    // Copies.
    const auto copy_transposed = [&](Func &transposed, Func &rows) {
        transposed.compute_at(f.dQ, f.r_q.z)
            .bound_extent(f.j, panel)
            .split(f.j, jo, ji, side)
            .split(f.e, eo, ei, side, TailStrategy::RoundUp)
            .reorder(ji, ei, eo, jo, f.x)
            .vectorize(ji)
            .unroll(ei);
        rows.compute_at(transposed, eo)
            .bound_extent(f.x, 1)
            .bound_extent(f.e, side)
            .bound_extent(f.j, side)
            .align_storage(f.e, s.transpose_row())
            .vectorize(f.e)
            .unroll(f.j);
    };
    copy_transposed(f.KT, f.K_rows);
    copy_transposed(f.VT, f.V_rows);
    f.K.compute_at(f.dQ, f.r_q.z)
        .bound_extent(f.j, panel)
        .align_storage(f.e, f.padded_d)
        .vectorize(f.e, lanes, TailStrategy::RoundUp);
    for (Func *block_local : {&f.Q, &f.dO, &f.seen, &f.queries_k, &f.queries_v, &f.QK, &f.tanh, &f.bias, &f.P, &f.GV, &f.dZ, &f.dS, &f.dK_block, &f.dV_block, &f.dQ_block}) {
        if (block_local->defined()) {
            block_local->bound_extent(f.ib, 1)
                .bound_extent(f.jb, 1)
                .bound_extent(f.g, 1);
        }
    }
    for (Func *copy : {&f.Q, &f.dO}) {
        copy->compute_at(f.dQ, f.r_q.x)
            .bound_storage(f.i, f.block_rows + iu)
            .vectorize(f.e, lanes, TailStrategy::RoundUp);
    }
    f.Q.align_storage(f.e, f.padded_d);
    f.dO.align_storage(f.e, f.padded_d_v);

    // Weights and their gradients, a register tile at a time.
    const auto in_tiles = [&](Func &stage) {
        stage.compute_at(f.dQ, f.r_q.x)
            .bound_extent(f.j, panel)
            .align_bounds(f.i, iu)
            .bound_storage(f.i, f.block_rows + iu)
            .bound_storage(f.x, s.block_panels)
            .split(f.i, io, ii, iu, TailStrategy::RoundUp)
            .reorder(f.j, ii, io, f.x)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(ii);
    };
    const auto product_at = [&](Func &product, Func &stage, RDom &summed) {
        product.compute_at(stage, io)
            .bound_extent(f.t, 1)
            .bound_extent(f.x, 1)
            .bound_extent(f.i, iu)
            .bound_extent(f.j, panel)
            .store_in(MemoryType::Register)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(f.i)
            .update()
            .reorder(f.j, f.i, summed.x)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(f.i);
    };
    // What is kept becomes the limit of the products' loops; computed in place it would be asked in each of their iterations.
    f.seen.compute_at(f.dQ, f.r_q.x);
    f.queries_k.compute_at(f.dQ, f.r_q.x);
    f.queries_v.compute_at(f.dQ, f.r_q.x);
    in_tiles(f.P);
    in_tiles(f.dS);
    if (f.dM.defined()) {
        in_tiles(f.dZ);
    }
    if (f.tanh.defined()) {
        in_tiles(f.tanh);
    }
    product_at(f.QK, f.tanh.defined() ? f.tanh : f.P, f.r_e);
    product_at(f.GV, f.dM.defined() ? f.dZ : f.dS, f.r_v);
    if (f.bias.defined()) {
        f.bias.compute_at(f.dQ, f.r_q.x)
            .bound_extent(f.j, panel)
            .align_bounds(f.i, iu)
            .bound_storage(f.i, f.block_rows + iu)
            .bound_storage(f.x, s.block_panels)
            .vectorize(f.j, lanes)
            .specialize(f.dense_mask);
    }

    // Sums over a block.
    const auto sum_at = [&](Func &sum, Func &stage, RDom &summed) {
        sum.compute_at(stage, eo)
            .bound_extent(f.x, 1)
            .bound_extent(f.j, panel)
            .bound_extent(f.e, eu)
            .store_in(MemoryType::Register)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(f.e)
            .update()
            .reorder(f.j, f.e, summed.x)
            .vectorize(f.j, lanes)
            .unroll(f.j)
            .unroll(f.e);
    };
    sum_at(f.dK_block, f.dKT, f.r_k);
    sum_at(f.dV_block, f.dVT, f.r_n);
    f.dQ_block.compute_at(f.dQ, f.r_q[3])
        .bound_extent(f.t, 1)
        .bound_extent(f.e, ev)
        .bound_extent(f.i, qu)
        .store_in(MemoryType::Register)
        .vectorize(f.e, lanes)
        .unroll(f.e)
        .unroll(f.i)
        .update()
        .split(f.e, eo, ei, lanes)
        .vectorize(ei)
        .unroll(eo)
        .unroll(f.i);
    // For each key load the fewer of the two, then go through the others, so that no more than one of them needs a register.
    if (s.column_vectors < qu) {
        f.dQ_block.update().reorder(ei, eo, f.i, f.r_j.x, f.r_j.y);
    } else {
        f.dQ_block.update().reorder(ei, f.i, eo, f.r_j.x, f.r_j.y);
    }

    // The transposed gradients, added where they belong.
    const auto add_transposed = [&](Func &sum, Func &columns) {
        sum.update()
            .split(f.i, io, ii, side, TailStrategy::GuardWithIf)
            .split(f.e, eo, ei, side, TailStrategy::GuardWithIf)
            .reorder(ei, ii, eo, io)
            .vectorize(ei)
            .unroll(ii);
        columns.compute_at(sum, eo)
            .bound_extent(f.l, side)
            .bound_extent(f.e, side)
            .bound_extent(f.y, 1)
            .align_storage(f.l, s.transpose_row())
            .vectorize(f.l)
            .unroll(f.e);
    };
    add_transposed(f.dK, f.dK_cols);
    add_transposed(f.dV, f.dV_cols);
}

}  // namespace muattn
