// Order, vectors and threads of the split variant of spatial attention on a CPU.
//
// One task is a span of keys of one key/value head: a block of rows reads each key and value once, from where the user has them. Columns
// lie in the lanes. Memory is what decoding waits for, so keys and values are asked for well before they are used.
#pragma once
#include "Halide.h"

#include "split_keys_numbers.h"

namespace muattn {

struct SpatialSplitKeysStages {
    // Row of a block: i. Block: x. Key of a span: j. Span: p. Column: e. Lane: l. Group of keys in P V: c. Key/value head: h.
    Halide::Var i{"i"}, x{"x"}, j{"j"}, p{"p"}, e{"e"}, l{"l"}, c{"c"}, h{"h"}, b{"b"}, row{"row"};
    Halide::RDom r_c;  // over the groups of keys of a span
    Halide::RDom r_p;  // over the spans

    Halide::Func query{"query"}, head{"head"};  // (i, x)                 of a row
    Halide::Func Q{"Q"};                        // (e, i, x, h, b)        queries times scale, 0 past d
    Halide::Func K{"K"};                        // (e, j, p, h, b)        keys, inlined
    Halide::Func V{"V"};                        // (e, j, p, h, b)        values, inlined
    Halide::Parameter key_array, value_array;   // the arrays that K and V read
    Halide::Func products{"products"};          // (l, i, j, x, p, h, b)  of query and key, summed over vectors of columns
    Halide::Func QK{"QK"};                      // (j, i, x, p, h, b)     dot products
    Halide::Func bias{"bias"};                  // (j, i, x, p, h, b)     what the mask adds to a logit, in units of log 2
    Halide::Expr dense_mask;                    // condition: along keys, the mask is contiguous
    Halide::Func S{"S"};                        // (j, i, x, p, h, b)     logits in units of log 2, masked
    Halide::Func lane_max{"lane_max"};          // (l, i, x, p, h, b)     maximum over every lanes-th key
    Halide::Func M{"M"};                        // (i, x, p, h, b)        row maximum within the span
    Halide::Func P{"P"};                        // (j, i, x, p, h, b)     2^(S - M)
    Halide::Func lane_sum{"lane_sum"};          // (l, i, x, p, h, b)     sum over every lanes-th key
    Halide::Func L{"L"};                        // (i, x, p, h, b)        row sum of P within the span
    Halide::Func PV_part{"PV_part"};            // (e, i, c, x, p, h, b)  P V of a group of keys
    Halide::Expr whole_groups;                  // condition: the columns of V are whole groups of vectors
    Halide::Func PV{"PV"};                      // (e, i, x, p, h, b)     P V of the span
    Halide::Func partial{"partial"};            // (e, i, x, p, h, b)     {PV, M, L} of each span
    Halide::Func m_all{"m_all"};                // (i, x, h, b)           maximum over all spans
    Halide::Func weight{"weight"};              // (i, x, p, h, b)        2^(M - m_all)
    Halide::Func l_all{"l_all"};                // (i, x, h, b)           sum over all spans
    Halide::Func merged{"merged"};              // (e, i, x, h, b)        P V over all spans
    Halide::Func LSE{"LSE"};                    // (i, x, h, b)           natural logarithm of the row sum
    Halide::Func out{"out"};                    // (e, row, h, b)         the output, with or without lse
};

inline void schedule_spatial_split_keys_cpu(SpatialSplitKeysStages &f,
                                                 const schedule::SpatialSplitKeys &s) {
    using namespace Halide;
    const int lanes = s.lanes, group = s.value_vectors * lanes;
    Var task("task"), jo("jo"), ji("ji"), eo("eo"), ei("ei"), po("po"), pi("pi");

    f.out.vectorize(f.e, lanes, TailStrategy::GuardWithIf);
    for (Func *stage : {&f.query, &f.head, &f.m_all, &f.weight, &f.l_all, &f.LSE}) {
        if (stage->defined()) {
            stage->compute_root();
        }
    }
    f.merged.compute_root()
        .vectorize(f.e, lanes, TailStrategy::RoundUp)
        .update()
        .reorder(f.e, f.r_p, f.i)
        .vectorize(f.e, lanes, TailStrategy::RoundUp);
    f.Q.compute_root()
        .vectorize(f.e, lanes, TailStrategy::RoundUp);
    // Split by one before they are fused: bounds inference sees through a split, not through a fused argument.
    f.partial.compute_root()
        .split(f.p, po, pi, 1)
        .reorder(f.e, f.i, f.x, pi, po, f.h, f.b)
        .fuse(po, f.h, task)
        .fuse(task, f.b, task)
        .parallel(task)
        .vectorize(f.e, lanes, TailStrategy::RoundUp);

    for (Func *stage : {&f.QK, &f.S, &f.lane_max, &f.M, &f.P, &f.lane_sum, &f.L, &f.PV, &f.products, &f.PV_part}) {
        stage->compute_at(f.partial, f.x)
            .bound_extent(f.x, 1)
            .bound_extent(f.p, 1)
            .bound_extent(f.i, s.block_rows);
    }
    // Lanes are added up in halves, those of key_unroll products together: those of one alone would be added one by one.
    const auto together = [&](auto &&stage) { s.sum_together ? stage.vectorize(ji) : stage.unroll(ji); };
    f.QK.split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(ji, f.i, jo)
        .unroll(f.i);
    together(f.QK);
    f.QK.update()
        .split(f.j, jo, ji, s.key_unroll, TailStrategy::RoundUp)
        .reorder(f.QK.rvars(0)[0], ji, f.i, jo)
        .atomic()
        .vectorize(f.QK.rvars(0)[0])
        .unroll(f.i)
        .prefetch(f.key_array, jo, jo, s.prefetch_keys / s.key_unroll, PrefetchBoundStrategy::NonFaulting);
    together(f.QK.update());
    f.products.compute_at(f.QK, jo)
        .store_in(MemoryType::Register)
        .reorder_storage(f.l, f.j, f.i, f.x, f.p, f.h, f.b)
        .bound_extent(f.j, s.key_unroll)
        .bound_extent(f.l, lanes)
        .vectorize(f.l)
        .unroll(f.i)
        .unroll(f.j)
        .update()
        .reorder(f.l, f.i, f.j, f.products.rvars(0)[0])
        .vectorize(f.l)
        .unroll(f.i)
        .unroll(f.j);
    if (f.bias.defined()) {
        f.bias.compute_at(f.partial, f.x)
            .bound_extent(f.x, 1)
            .bound_extent(f.p, 1)
            .vectorize(f.j, lanes, TailStrategy::RoundUp)
            .specialize(f.dense_mask);
    }
    for (Func *stage : {&f.S, &f.P}) {
        stage->vectorize(f.j, lanes, TailStrategy::RoundUp);
    }
    for (Func *stage : {&f.lane_max, &f.lane_sum}) {
        stage->bound_extent(f.l, lanes)
            .vectorize(f.l)
            .unroll(f.i)
            .update()
            .reorder(f.l, f.i, stage->rvars(0)[0])
            .vectorize(f.l)
            .unroll(f.i);
    }
    // A group of columns with a part past d_v would read all of it lane by lane; a vector at a time, only the last one is.
    f.PV.vectorize(f.e, lanes, TailStrategy::RoundUp);
    const auto by_columns = [&](Stage stage, int columns) {
        stage.split(f.e, eo, ei, columns, TailStrategy::RoundUp)
            .reorder(ei, f.i, eo, f.r_c)
            .vectorize(ei, lanes)
            .unroll(ei)
            .unroll(f.i)
            .prefetch(f.value_array, f.r_c, f.r_c, 1, PrefetchBoundStrategy::NonFaulting);
    };
    by_columns(f.PV.update().specialize(f.whole_groups), group);
    by_columns(f.PV.update(), lanes);
    f.PV_part.compute_at(f.PV, eo)
        .store_in(MemoryType::Register)
        .bound_extent(f.c, 1)
        .vectorize(f.e, lanes)
        .unroll(f.e)
        .unroll(f.i)
        .update()
        .reorder(f.e, f.i, f.PV_part.rvars(0)[0])
        .vectorize(f.e, lanes)
        .unroll(f.e)
        .unroll(f.i)
        .specialize(f.whole_groups);
}

}  // namespace muattn
