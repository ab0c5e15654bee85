// muattn_spatial_attention_backward: check, choose a kernel, run it for parts of the call. And the check alone.
#include <algorithm>
#include <utility>

#include "backward_call.h"
#include "backward_tasks.h"
#include "common/error.h"
#include "hidden_values.h"
#include "kernels/registry.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

Need need_of(const SpatialBackwardCall &call) {
    Need need = need_of(call.forward);
    need.direction = Direction::backward;
    need.types = {MUATTN_FLOAT32, MUATTN_FLOAT32, MUATTN_FLOAT32};
    need.features.lse = false;
    need.features.d_mask = call.wants_mask;
    need.negative_strides |= any_negative_stride({&call.d_out});
    for (const auto &[wanted, gradient] : {std::pair{call.with_d_lse, &call.d_lse},
                                           {call.wants_q, &call.d_q},
                                           {call.wants_k, &call.d_k},
                                           {call.wants_v, &call.d_v},
                                           {call.wants_mask, &call.d_mask}}) {
        need.negative_strides |= wanted && any_negative_stride({gradient});
    }
    return need;
}

muattn_status gradients_not_built() {
    return fail(MUATTN_UNSUPPORTED, "this build has no kernels for gradients of spatial attention");
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_spatial_attention_backward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                 const muattn_tensor *v, const muattn_tensor *out,
                                                                 const muattn_tensor *lse, const muattn_tensor *d_out,
                                                                 const muattn_tensor *d_lse,
                                                                 const muattn_spatial_options *options,
                                                                 const muattn_spatial_gradients *gradients) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    if (!kHasSpatialBackward) {
        return gradients_not_built();
    }
    SpatialBackwardCall call;
    return check_spatial_backward(call, q, k, v, out, lse, d_out, d_lse, or_defaults(options), gradients);
}

extern "C" muattn_status muattn_spatial_attention_backward(const muattn_tensor *q, const muattn_tensor *k,
                                                           const muattn_tensor *v, const muattn_tensor *out,
                                                           const muattn_tensor *lse, const muattn_tensor *d_out,
                                                           const muattn_tensor *d_lse,
                                                           const muattn_spatial_options *options,
                                                           const muattn_spatial_gradients *gradients) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    if (!kHasSpatialBackward) {  // its code is left out
        return gradients_not_built();
    }
    SpatialBackwardCall call;
    MUATTN_RETURN_IF_ERROR(
        check_spatial_backward(call, q, k, v, out, lse, d_out, d_lse, or_defaults(options), gradients));
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.forward.q.tensor.device, &backend));
    Need need = need_of(call);
    const Kernel *kernel = find_kernel(backend, Algorithm::key_blocks, need);
    if (kernel == nullptr) {  // as on every GPU, whose memory must not be read here
        return no_kernel(backend);
    }
    const bool nothing_wanted = !call.wants_q && !call.wants_k && !call.wants_v && !call.wants_mask &&
                                call.d_scale == nullptr && call.d_sink == nullptr &&
                                call.d_output_multiplier == nullptr;
    if (nothing_wanted || call.forward.B == 0 || call.forward.H == 0) {
        std::fill_n(call.d_scale, call.d_scale != nullptr ? call.forward.H : 0, 0.0f);
        std::fill_n(call.d_sink, call.d_sink != nullptr ? call.forward.H : 0, 0.0f);
        std::fill_n(call.d_output_multiplier, call.d_output_multiplier != nullptr ? 1 : 0, 0.0f);
        if (call.wants_mask) {  // a dimension of it may be 1
            clear(call.d_mask);
        }
        for (const auto &[wanted, gradient] : {std::pair{call.wants_k, &call.d_k}, {call.wants_v, &call.d_v}}) {
            if (wanted) {  // there may be keys without queries' heads
                clear(*gradient);
            }
        }
        return no_work();
    }
    if (!kernel->features.guard && hidden_values_need_guard(call)) {
        need.features.guard = true;
        kernel = find_kernel(backend, Algorithm::key_blocks, need);
        if (kernel == nullptr) {
            return no_kernel(backend);
        }
    }
    BackwardTasks tasks(call, *kernel, schedule_of<schedule::SpatialKeyBlocks>(*kernel));
    return tasks.run(backend);
}
