// muattn_channel_attention_forward: check, choose a kernel, bind, run.
#include "schedules/channel_attention_schedule.h"

#include <cmath>

#include "call.h"
#include "error.h"
#include "tensor.h"

namespace muattn {
namespace {

struct ChannelCall {
    Argument q{"q", MUATTN_INVALID_Q, {}}, k{"k", MUATTN_INVALID_K, {}}, v{"v", MUATTN_INVALID_V, {}};
    Argument out{"out", MUATTN_INVALID_OUT, {}};
    int64_t B = 0, H = 0, n = 0, d = 0;
};

muattn_status check_tensors(ChannelCall &call, const muattn_tensor *q, const muattn_tensor *k, const muattn_tensor *v,
                            const muattn_tensor *out) {
    static constexpr const char *kDims[] = {"B", "H", "n", "d"};
    MUATTN_RETURN_IF_ERROR(check_tensor(call.q, q));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.k, k));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.v, v));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out));
    call.B = call.q.size(0), call.H = call.q.size(1), call.n = call.q.size(2), call.d = call.q.size(3);
    if (call.d > MUATTN_MAX_D) {
        return fail(MUATTN_INVALID_Q, "q.shape[3] (d) must be at most %d, not %lld", MUATTN_MAX_D, static_cast<long long>(call.d));
    }
    for (const Argument *other : {&call.k, &call.v, &call.out}) {
        for (int dim = 0; dim < 4; dim++) {
            MUATTN_RETURN_IF_ERROR(check_size(*other, dim, kDims[dim], call.q.size(dim), "must equal q's"));
        }
    }
    const Argument *const inputs[] = {&call.q, &call.k, &call.v};
    return check_output(call.out, inputs, 3);
}

muattn_status run(const ChannelCall &call, const muattn_channel_options &options) {
    double rule_scale = 0, multiplier = 0;
    if (options.scale == nullptr) {
        MUATTN_RETURN_IF_ERROR(muattn_channel_scale(options.scaling, call.n, &rule_scale));
    }
    if (options.output_multiplier == nullptr) {
        MUATTN_RETURN_IF_ERROR(muattn_channel_output_multiplier(options.scaling, call.d, options.d_base, &multiplier));
    } else if (std::isfinite(*options.output_multiplier)) {
        multiplier = double(*options.output_multiplier);
    } else {
        return fail(MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be finite, not %f", double(*options.output_multiplier));
    }
    const float one_scale = float(rule_scale);
    const bool per_head = options.scale != nullptr && options.scale_count > 1;
    float output_multiplier = float(multiplier);

    const Kernel *kernel = find_kernel(Operation::channel_attention, Direction::forward, call.q.tensor.dtype, Kind::plain);
    if (kernel == nullptr) {
        return MUATTN_UNSUPPORTED;
    }
    auto schedule = schedule::ChannelAttentionSchedule::defaults(kernel->machine);
    schedule.override_with(kernel->parameters);

    BoundBuffer q, k, v, scale, out;
    q.bind(call.q);
    k.bind(call.k);
    v.bind(call.v);
    scale.bind_vector(options.scale != nullptr ? options.scale : &one_scale, halide_type_t(halide_type_float, 32), call.H, per_head);
    out.bind(call.out);
    void *arguments[] = {nullptr, &q.buffer, &k.buffer, &v.buffer, &scale.buffer, &output_multiplier, &out.buffer};
    const int64_t tasks = call.B * call.H * schedule.tiles(call.d);
    return run_kernel(*kernel, arguments, tasks, size_t(schedule.scratch_bytes(call.d, Slab::block_bytes)));
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_channel_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_channel_options *options,
                                                          const muattn_tensor *out) {
    using namespace muattn;
    static constexpr muattn_channel_options kDefaults{};
    const muattn_channel_options &o = options != nullptr ? *options : kDefaults;
    ChannelCall call;
    MUATTN_RETURN_IF_ERROR(check_tensors(call, q, k, v, out));
    MUATTN_RETURN_IF_ERROR(check_scale(o.scale, o.scale_count, call.H));
    return run(call, o);
}
