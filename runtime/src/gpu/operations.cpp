#include "operations.h"

#include <algorithm>

#include "common/error.h"
#include "schedules/channel_attention/tiles_numbers.h"
#include "schedules/spatial_attention/block_numbers.h"
#include "session.h"

namespace muattn::gpu {
namespace {

const halide_type_t kFloat(halide_type_float, 32);

// Few rows to a key/value head leave most thread blocks empty: the keys are split then, unless they are few as well. Numbers
// not measured on a GPU.
Kind kind_of(const SpatialCall &call, const muattn_spatial_options &options) {
    constexpr int64_t kFewRows = 32, kManyKeys = 512;
    const bool split = call.n_q * (call.H / call.Hk) <= kFewRows && call.n_k >= kManyKeys;
    const bool guarded = call.with_mask || options.softcap > 0;
    if (split) {
        return guarded ? Kind::split_guarded_lse : Kind::split_lse;
    }
    return guarded ? Kind::guarded_lse : call.with_lse ? Kind::lse : Kind::plain;
}

// The lse of a kernel has a dimension for d_v; generators/spatial_attention.h says why.
void bind_lse_to_rows(BoundBuffer &lse, int64_t d_v) { lse.dims[0] = halide_dimension_t(0, int32_t(d_v), 0); }

// Drops the innermost dimension, which has extent 1.
void drop_columns(BoundBuffer &lse) {
    lse.buffer.dimensions = 3;
    lse.buffer.dim = lse.dims + 1;
}

}  // namespace

muattn_status run_spatial_attention(const SpatialCall &call, const muattn_spatial_options &options, float rule_scale,
                                    int backend) {
    const Kernel *kernel = find_kernel(backend, Operation::spatial_attention, Direction::forward, call.q.tensor.dtype,
                                       kind_of(call, options), false, std::max(call.d, call.d_v));
    if (kernel == nullptr) {
        return no_kernel(backend, std::max(call.d, call.d_v));
    }
    Session session(*kernel);
    MUATTN_RETURN_IF_ERROR(session.check_shared(
        schedule::SpatialBlock::defaults(kernel->machine, kernel->head_dim).shared_bytes()));
    BoundBuffer q, k, v, scale, visible, additive, boolean, out, lse;
    MUATTN_RETURN_IF_ERROR(session.input(q, call.q));
    MUATTN_RETURN_IF_ERROR(session.input(k, call.k));
    MUATTN_RETURN_IF_ERROR(session.input(v, call.v));
    const bool per_head = options.scale != nullptr && options.scale_count > 1;
    MUATTN_RETURN_IF_ERROR(
        session.vector(scale, options.scale != nullptr ? options.scale : &rule_scale, kFloat, call.H, per_head));
    bind_visible_keys(visible, call);
    MUATTN_RETURN_IF_ERROR(session.upload(visible, size_t(call.visible.count()) * sizeof(VisibleKeys)));
    const bool is_boolean = call.with_mask && call.mask.tensor.dtype == MUATTN_BOOL;
    MUATTN_RETURN_IF_ERROR(session.input(additive, call.with_mask && !is_boolean ? call.mask : no_additive_mask()));
    MUATTN_RETURN_IF_ERROR(session.input(boolean, is_boolean ? call.mask : no_boolean_mask()));
    MUATTN_RETURN_IF_ERROR(session.output(out, call.out));
    if (call.with_lse) {
        MUATTN_RETURN_IF_ERROR(session.output(lse, call.lse));
    } else if (kernel->kind != Kind::plain) {
        const int64_t rows[] = {call.B, call.H, call.n_q, 1};
        MUATTN_RETURN_IF_ERROR(session.unwanted(lse, rows));
    }
    bind_lse_to_rows(lse, call.d_v);
    int32_t heads_per_kv = int32_t(call.H / call.Hk), window_first = call.window_first, window_last = call.window_last;
    float softcap = options.softcap;
    void *arguments[] = {nullptr,          &q.buffer,       &k.buffer,     &v.buffer,    &scale.buffer,
                         &visible.buffer,  &heads_per_kv,   &window_first, &window_last, &softcap,
                         &additive.buffer, &boolean.buffer, &out.buffer,   &lse.buffer};
    return session.run(arguments);
}

muattn_status run_channel_attention(const Kernel &kernel, const Argument *const *tensors, int64_t H, const float *scale,
                                    bool per_head, float output_multiplier) {
    Session session(kernel);
    const auto tiles = schedule::ChannelTiles::defaults(kernel.machine);
    MUATTN_RETURN_IF_ERROR(session.check_shared(tiles.shared_bytes()));
    BoundBuffer q, k, v, scales, out;
    MUATTN_RETURN_IF_ERROR(session.input(q, *tensors[0]));
    MUATTN_RETURN_IF_ERROR(session.input(k, *tensors[1]));
    MUATTN_RETURN_IF_ERROR(session.input(v, *tensors[2]));
    MUATTN_RETURN_IF_ERROR(session.vector(scales, scale, kFloat, H, per_head));
    MUATTN_RETURN_IF_ERROR(session.output(out, *tensors[3]));
    const bool first = kernel.kind == Kind::first || kernel.kind == Kind::first_normalized;
    const Argument &shape = *tensors[0];
    const int64_t n = shape.size(first ? 3 : 2), d = shape.size(first ? 2 : 3);
    int32_t span_steps = int32_t(tiles.span_steps(shape.size(0) * shape.size(1), n, d));
    void *arguments[] = {nullptr,        &q.buffer,          &k.buffer,   &v.buffer,
                         &scales.buffer, &output_multiplier, &span_steps, &out.buffer};
    return session.run(arguments);
}

muattn_status run_merge(const Kernel &kernel, const Argument *const *tensors) {
    Session session(kernel);
    BoundBuffer a, b, lse_a, lse_b, out, lse;
    MUATTN_RETURN_IF_ERROR(session.input(a, *tensors[0]));
    MUATTN_RETURN_IF_ERROR(session.input(b, *tensors[1]));
    MUATTN_RETURN_IF_ERROR(session.input(lse_a, *tensors[2]));
    MUATTN_RETURN_IF_ERROR(session.input(lse_b, *tensors[3]));
    drop_columns(lse_a);
    drop_columns(lse_b);
    MUATTN_RETURN_IF_ERROR(session.output(out, *tensors[4]));
    MUATTN_RETURN_IF_ERROR(session.output(lse, *tensors[5]));
    bind_lse_to_rows(lse, tensors[4]->size(3));
    void *arguments[] = {nullptr, &a.buffer, &b.buffer, &lse_a.buffer, &lse_b.buffer, &out.buffer, &lse.buffer};
    return session.run(arguments);
}

}  // namespace muattn::gpu
