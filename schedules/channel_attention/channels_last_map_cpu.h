// Order, tiles and vectors of maps between channels on channels-last arrays, on a CPU. Channels of x lie in the vector lanes, those of y are
// broadcast. Chunks of tokens are copied to rows that do not share places in the cache, and their products added to the map.
#pragma once
#include "generators/channel_attention/channels_last_map.h"
#include "schedules/channel_attention/channels_last_map_numbers.h"

namespace muattn {

inline void schedule_channels_last_map_cpu(ChannelsLastMapStages &f, const schedule::ChannelsLastMap &s) {
    using namespace Halide;
    const int lanes = s.lanes;
    Var io("io"), ii("ii"), jo("jo"), ji("ji");

    f.out.specialize(f.holds_vector)
        .vectorize(f.i, lanes, TailStrategy::ShiftInwards);
    f.S.compute_root()
        .split(f.i, io, ii, s.block(), TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.column_group, TailStrategy::RoundUp)
        .reorder(ii, io, ji, jo)
        .vectorize(ii, lanes)
        .unroll(ii);
    f.S.update()
        .split(f.i, io, ii, s.block(), TailStrategy::RoundUp)
        .split(f.j, jo, ji, s.column_group, TailStrategy::RoundUp)
        .reorder(ii, ji, jo, io, f.r_c)
        .vectorize(ii, lanes)
        .unroll(ii)
        .unroll(ji)
        .never_partition(jo, io, f.r_c);
    f.S.update().specialize(f.tokens_in_place);
    // For each token the fewer of the two are loaded, then the others go by, so that no more than one of them needs a register.
    for (Func *products : {&f.in_place, &f.copied}) {
        products->compute_at(f.S, jo)
            .bound_extent(f.i, s.block())
            .bound_extent(f.j, s.column_group)
            .bound_extent(f.c, 1)
            .store_in(MemoryType::Register)
            .vectorize(f.i, lanes)
            .unroll(f.i)
            .unroll(f.j)
            .update()
            .split(f.i, io, ii, lanes)
            .vectorize(ii)
            .unroll(io)
            .unroll(f.j);
        if (s.row_vectors < s.column_group) {
            products->update().reorder(ii, io, f.j, f.r_u);
        } else {
            products->update().reorder(ii, f.j, io, f.r_u);
        }
    }
    f.X.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .align_bounds(f.i, lanes)
        .align_storage(f.i, f.x_row)
        .vectorize(f.i, lanes, TailStrategy::RoundUp);
    f.Y.compute_at(f.S, f.r_c)
        .bound_extent(f.c, 1)
        .align_bounds(f.j, lanes)
        .align_storage(f.j, f.y_row)
        .vectorize(f.j, lanes, TailStrategy::RoundUp);
}

}  // namespace muattn
