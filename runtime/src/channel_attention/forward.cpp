// muattn_channel_attention_forward: check, choose a kernel, bind, run. And the check alone.
#include "algorithms.h"
#include "arguments.h"
#include "call.h"
#include "common/error.h"
#include "converted.h"
#include "kernels/bind.h"
#include "kernels/convert.h"
#include "system/floating_point.h"

extern "C" muattn_status muattn_channel_attention_forward_check(const muattn_tensor *q, const muattn_tensor *k,
                                                                const muattn_tensor *v,
                                                                const muattn_channel_options *options,
                                                                const muattn_tensor *out) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    ChannelCall call;
    return check_channel_call(call, q, k, v, or_defaults(options), out);
}

extern "C" muattn_status muattn_channel_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_channel_options *options,
                                                          const muattn_tensor *out) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    ChannelCall call;
    MUATTN_RETURN_IF_ERROR(check_channel_call(call, q, k, v, or_defaults(options), out));
    if (call.out.is_empty()) {
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    Converter none;
    MUATTN_RETURN_IF_ERROR(find_converter(backend, call.q, &none));
    const Choice choice = choose_kernel(call, backend);
    if (choice.kernel == nullptr) {
        return no_kernel(backend);
    }
    if (kHasOtherTypes && choice.kernel->types.q != call.q.tensor.dtype) {
        return run_converted(call, *choice.kernel, backend);
    }
    // Halide's buffers are below 2^31 bytes.
    if (choice.work.serial_bytes >= INT64_C(1) << 31) {
        return fail(MUATTN_UNSUPPORTED,
                    "layout: channels first keeps the maps of all %lld heads of the batch, %lld MiB; split the batch",
                    static_cast<long long>(call.maps()), static_cast<long long>(choice.work.serial_bytes >> 20));
    }
    return bind_and_run(*choice.kernel, call, choice.work);
}
