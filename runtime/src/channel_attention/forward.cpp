// muattn_channel_attention_forward: check, choose a kernel, bind, run.
#include <algorithm>

#include "kernels/run.h"
#include "common/error.h"
#include "system/floating_point.h"
#include "gpu/operations.h"
#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/channel_attention/channels_last_numbers.h"
#include "common/tensor.h"

namespace muattn {
namespace {

struct ChannelCall {
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}};
    int64_t B = 0, H = 0, n = 0, d = 0;
    float output_multiplier = 1;
};

muattn_status check_tensors(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                            const muattn_tensor *out, muattn_layout layout) {
    static constexpr const char *kDims[2][4] = {{"B", "H", "n", "d"}, {"B", "H", "d", "n"}};
    if (layout != MUATTN_CHANNELS_LAST && layout != MUATTN_CHANNELS_FIRST) {
        return fail(MUATTN_INVALID_LAYOUT, "layout: %d is unknown", int(layout));
    }
    const bool first = layout == MUATTN_CHANNELS_FIRST;
    const int d_dim = first ? 2 : 3;
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out));
    call.B = call.q.size(0), call.H = call.q.size(1), call.n = call.q.size(5 - d_dim), call.d = call.q.size(d_dim);
    MUATTN_RETURN_IF_ERROR(check_head_dim(call.q, d_dim, "d"));
    for (const Argument *other : {&call.k, &call.v, &call.out}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, call.q));
        for (int dim = 0; dim < 4; dim++) {
            MUATTN_RETURN_IF_ERROR(check_size(*other, dim, kDims[first][dim], call.q.size(dim), "must equal q's"));
        }
    }
    const Argument *const inputs[] = {&call.q, &call.k, &call.v};
    return check_output(call.out, inputs, 3);
}

static_assert(int(Kind::last_normalized) == int(Kind::last) + 1 &&
              int(Kind::triple_normalized) == int(Kind::triple) + 1 &&
              int(Kind::pair_normalized) == int(Kind::pair) + 1 && int(Kind::first_normalized) == int(Kind::first) + 1);

// Of a kernel of the channels-last layout.
schedule::ChannelsLast schedule_of(const Kernel &kernel) {
    const bool triple = kernel.kind == Kind::triple || kernel.kind == Kind::triple_normalized;
    const bool pair = kernel.kind == Kind::pair || kernel.kind == Kind::pair_normalized;
    auto schedule = schedule::ChannelsLast::defaults(kernel.machine, triple ? 3 : pair ? 2 : 0);
    schedule.override_with(kernel.parameters);
    return schedule;
}

muattn_status resolve_output_multiplier(ChannelCall &call, const muattn_channel_options &options) {
    if (options.output_multiplier == nullptr) {
        double multiplier = 0;
        MUATTN_RETURN_IF_ERROR(muattn_channel_output_multiplier(options.scaling, call.d, options.d_base, &multiplier));
        call.output_multiplier = float(multiplier);
        return MUATTN_OK;
    }
    call.output_multiplier = *options.output_multiplier;
    if (!is_zero_or_between(call.output_multiplier, kMinOutputMultiplier, kMaxOutputMultiplier)) {
        return fail(MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be 0 or of magnitude %g..%g, not %g",
                    double(kMinOutputMultiplier), double(kMaxOutputMultiplier), double(call.output_multiplier));
    }
    return MUATTN_OK;
}

muattn_status run(const ChannelCall &call, const muattn_channel_options &options) {
    double rule_scale = 0;
    MUATTN_RETURN_IF_ERROR(muattn_channel_scale(options.scaling, std::max<int64_t>(call.n, 1), &rule_scale));
    if (call.out.is_empty()) {
        return no_work();
    }
    const float one_scale = float(rule_scale);
    const bool per_head = options.scale != nullptr && options.scale_count > 1;
    float output_multiplier = call.output_multiplier;

    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    const bool first = options.layout == MUATTN_CHANNELS_FIRST, normalize = options.normalize != 0;
    const bool negative_strides = any_negative_stride({&call.q, &call.k, &call.v, &call.out});
    const auto kernel_of = [&](Kind kind) {
        return find_kernel(backend, Operation::channel_attention, Direction::forward, call.q.tensor.dtype,
                           Kind(int(kind) + normalize), negative_strides);
    };
    const Kernel *kernel = kernel_of(first ? Kind::first : Kind::last);
    if (kernel != nullptr && device_of(backend) != MUATTN_CPU) {
        const float *scale = options.scale != nullptr ? options.scale : &one_scale;
        const Argument *const tensors[] = {&call.q, &call.k, &call.v, &call.out};
        return gpu::run_channel_attention(*kernel, tensors, call.H, scale, per_head, output_multiplier);
    }
    if (!first && device_of(backend) == MUATTN_CPU) {
        // Blocks of rows that leave the fewest rows empty, of several the largest. A smaller build may lack some.
        for (Kind kind : {Kind::triple, Kind::pair}) {
            const Kernel *other = kernel_of(kind);
            if (other != nullptr &&
                (kernel == nullptr || schedule_of(*other).rows(call.d) < schedule_of(*kernel).rows(call.d))) {
                kernel = other;
            }
        }
    }
    if (kernel == nullptr) {
        return no_kernel(backend);
    }
    BoundBuffer q, k, v, scale, out;
    q.bind(call.q);
    k.bind(call.k);
    v.bind(call.v);
    scale.bind_vector(options.scale != nullptr ? options.scale : &one_scale, halide_type_t(halide_type_float, 32),
                      call.H, per_head);
    out.bind(call.out);
    const int64_t maps = call.B * call.H;
    if (first) {
        auto schedule = schedule::ChannelsFirst::defaults(kernel->machine);
        schedule.override_with(kernel->parameters);
        int32_t span_chunks = int32_t(schedule.span_chunks(maps, call.n, call.d));
        void *arguments[] = {nullptr,       &q.buffer,          &k.buffer,    &v.buffer,
                             &scale.buffer, &output_multiplier, &span_chunks, &out.buffer};
        const int64_t tasks = maps * std::max(schedule.tiles(call.d) * schedule.spans(maps, call.n, call.d),
                                              (call.n + schedule.tile_tokens - 1) / schedule.tile_tokens);
        const Work work{tasks, schedule.scratch_bytes(call.d, normalize, Slab::block_bytes),
                        schedule.serial_bytes(maps, call.n, call.d, normalize, Slab::block_bytes)};
        // Halide's buffers are below 2^31 bytes.
        if (work.serial_bytes >= INT64_C(1) << 31) {
            return fail(
                MUATTN_UNSUPPORTED,
                "layout: channels first keeps the maps of all %lld heads of the batch, %lld MiB; split the batch",
                static_cast<long long>(maps), static_cast<long long>(work.serial_bytes >> 20));
        }
        return run_kernel(*kernel, arguments, work);
    }
    const auto schedule = schedule_of(*kernel);
    void *arguments[] = {nullptr, &q.buffer, &k.buffer, &v.buffer, &scale.buffer, &output_multiplier, &out.buffer};
    return run_kernel(*kernel, arguments,
                      {maps * schedule.tiles(call.d), schedule.scratch_bytes(call.d, normalize, Slab::block_bytes)});
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_channel_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_channel_options *options,
                                                          const muattn_tensor *out) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    static constexpr muattn_channel_options kDefaults{};
    const muattn_channel_options &o = options != nullptr ? *options : kDefaults;
    ChannelCall call;
    MUATTN_RETURN_IF_ERROR(check_tensors(call, q, k, v, out, o.layout));
    MUATTN_RETURN_IF_ERROR(
        check_scale(o.scale, o.scale_count, call.H, o.normalize != 0 ? kMaxNormalizedScale : kMaxScale));
    MUATTN_RETURN_IF_ERROR(resolve_output_multiplier(call, o));
    return run(call, o);
}
