// muattn_spatial_attention_forward: check, choose a kernel, bind, run. And the check alone.
#include <algorithm>

#include "algorithms.h"
#include "arguments.h"
#include "call.h"
#include "common/error.h"
#include "converted.h"
#include "kernels/bind.h"
#include "kernels/convert.h"
#include "system/floating_point.h"

extern "C" muattn_status muattn_spatial_attention_forward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                const muattn_tensor *v,
                                                                const muattn_spatial_options *options,
                                                                const muattn_tensor *out, const muattn_tensor *lse) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    SpatialCall call;
    return check_spatial_call(call, q, k, v, or_defaults(options), out, lse);
}

extern "C" muattn_status muattn_spatial_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_spatial_options *options,
                                                          const muattn_tensor *out, const muattn_tensor *lse) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    SpatialCall call;
    MUATTN_RETURN_IF_ERROR(check_spatial_call(call, q, k, v, or_defaults(options), out, lse));
    if (call.is_empty()) {
        return no_work();
    }
    if (call.n_k == 0) {
        put_a_hidden_key(call);
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    const Choice choice = choose_kernel(call, backend);
    if (choice.kernel == nullptr) {
        Converter none;  // types may be why
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call.q, &none));
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call.k, &none));
        return no_kernel(backend, std::max(call.d, call.d_v));
    }
    return kHasOtherTypes && needs_parts(call, choice) ? run_in_parts(call, choice, backend)
                                                       : bind_and_run(*choice.kernel, call, choice.work);
}
