// The rules of muattn_spatial_attention_backward's arguments.
#include "backward_call.h"
#include "common/error.h"

namespace muattn {
namespace {

// The gradients so far, and all inputs: what another gradient must not overlap.
struct Others {
    const Argument *all[12];
    int count = 0;

    explicit Others(const SpatialBackwardCall &call) {
        for (const Argument *input :
             {&call.forward.q, &call.forward.k, &call.forward.v, &call.forward.out, &call.forward.lse, &call.d_out}) {
            all[count++] = input;
        }
        if (call.with_d_lse) {
            all[count++] = &call.d_lse;
        }
        if (call.forward.with_mask) {
            all[count++] = &call.forward.mask;
        }
    }
    muattn_status add(const Argument &gradient) {
        MUATTN_RETURN_IF_ERROR(check_output(gradient, all, count));
        all[count++] = &gradient;
        return MUATTN_OK;
    }
};

muattn_status check_gradient(bool &wanted, Argument &argument, const muattn_tensor *tensor, const Argument &of,
                             const char *const (&dims)[4], const char *rule, Others &others) {
    wanted = tensor != nullptr;
    if (!wanted) {
        return MUATTN_OK;
    }
    MUATTN_RETURN_IF_ERROR(check_like(argument, tensor, of, dims, rule));
    return others.add(argument);
}

}  // namespace

muattn_status check_spatial_backward(SpatialBackwardCall &call, const muattn_tensor *q, const muattn_tensor *k,
                                     const muattn_tensor *v, const muattn_tensor *out, const muattn_tensor *lse,
                                     const muattn_tensor *d_out, const muattn_tensor *d_lse,
                                     const muattn_spatial_options &options, const muattn_spatial_gradients *gradients) {
    static constexpr const char *kQ[] = {"B", "H", "n_q", "d"}, *kK[] = {"B", "Hk", "n_k", "d"},
                                *kV[] = {"B", "Hk", "n_k", "d_v"}, *kOut[] = {"B", "H", "n_q", "d_v"},
                                *kMask[] = {"B", "H", "n_q", "n_k"};
    SpatialCall &forward = call.forward;
    if (lse == nullptr) {
        return fail(MUATTN_INVALID_LSE, "lse must be given: the forward call's");
    }
    MUATTN_RETURN_IF_ERROR(check_spatial_inputs(forward, q, k, v, options, out, lse, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_like(call.d_out, d_out, forward.out, kOut, "must equal out's"));
    call.with_d_lse = d_lse != nullptr;
    if (call.with_d_lse) {
        MUATTN_RETURN_IF_ERROR(check_rows(call.d_lse, d_lse, forward));
    }
    if (gradients == nullptr) {
        return fail(MUATTN_INVALID_GRADIENTS, "gradients must not be null");
    }
    if (gradients->d_mask != nullptr && (!forward.with_mask || forward.mask.tensor.dtype == MUATTN_BOOL)) {
        return fail(MUATTN_INVALID_D_MASK, "d_mask must be null: the call has no additive mask");
    }
    if (gradients->d_sink != nullptr && options.sink == nullptr) {
        return fail(MUATTN_INVALID_D_SINK, "d_sink must be null: the call has no sink");
    }
    if (gradients->d_output_multiplier != nullptr && forward.output_multiplier == 0) {
        return fail(MUATTN_INVALID_OUTPUT_MULTIPLIER,
                    "output_multiplier must not be 0 where d_output_multiplier is wanted: out is 0 then");
    }
    Others others(call);
    MUATTN_RETURN_IF_ERROR(
        check_gradient(call.wants_q, call.d_q, gradients->d_q, forward.q, kQ, "must equal q's", others));
    MUATTN_RETURN_IF_ERROR(
        check_gradient(call.wants_k, call.d_k, gradients->d_k, forward.k, kK, "must equal k's", others));
    MUATTN_RETURN_IF_ERROR(
        check_gradient(call.wants_v, call.d_v, gradients->d_v, forward.v, kV, "must equal v's", others));
    MUATTN_RETURN_IF_ERROR(check_gradient(call.wants_mask, call.d_mask, gradients->d_mask, forward.mask, kMask,
                                          "must equal the mask's", others));
    call.d_scale = gradients->d_scale;
    call.d_sink = gradients->d_sink;
    call.d_output_multiplier = gradients->d_output_multiplier;
    return MUATTN_OK;
}

}  // namespace muattn
