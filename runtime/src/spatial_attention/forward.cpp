// muattn_spatial_attention_forward: check, choose a kernel, bind, run.
#include <cstring>

#include "kernels/run.h"
#include "common/error.h"
#include "system/floating_point.h"
#include "gpu/operations.h"
#include "call.h"
#include "algorithms.h"

namespace muattn {
namespace {

muattn_status run(const SpatialCall &call, const muattn_spatial_options &options, float rule_scale) {
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    if (device_of(backend) != MUATTN_CPU) {
        return gpu::run_spatial_attention(call, options, rule_scale, backend);
    }
    const bool per_head = options.scale != nullptr && options.scale_count > 1;
    const bool negative_strides = any_negative_stride({&call.q, &call.k, &call.v, &call.out}) ||
                                  (call.with_mask && any_negative_stride({&call.mask})) ||
                                  (call.with_lse && any_negative_stride({&call.lse}));
    const Kernel *kernel = choose_spatial_kernel(call, options, backend, negative_strides);
    if (kernel == nullptr) {
        return no_kernel(backend);
    }
    BoundBuffer q, k, v, scale, visible, additive, boolean, out, lse;
    q.bind(call.q);
    k.bind(call.k);
    v.bind(call.v);
    scale.bind_vector(options.scale != nullptr ? options.scale : &rule_scale, halide_type_t(halide_type_float, 32),
                      call.H, per_head);
    bind_visible_keys(visible, call);
    out.bind(call.out);
    if (call.with_lse) {
        lse.bind(call.lse);
        lse.dims[0] = halide_dimension_t(0, int32_t(call.d_v), 0);  // generators/spatial_attention.h says why
    }
    const bool is_boolean = call.with_mask && call.mask.tensor.dtype == MUATTN_BOOL;
    additive.bind(call.with_mask && !is_boolean ? call.mask : no_additive_mask());
    boolean.bind(is_boolean ? call.mask : no_boolean_mask());
    int32_t heads_per_kv = int32_t(call.H / call.Hk), window_first = call.window_first, window_last = call.window_last;
    float softcap = options.softcap;
    void *arguments[] = {nullptr,          &q.buffer,       &k.buffer,     &v.buffer,    &scale.buffer,
                         &visible.buffer,  &heads_per_kv,   &window_first, &window_last, &softcap,
                         &additive.buffer, &boolean.buffer, &out.buffer,   &lse.buffer};
    return run_kernel(*kernel, arguments, work_of(call, *kernel));
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_spatial_attention_forward(const muattn_tensor *q, const muattn_tensor *k,
                                                          const muattn_tensor *v, const muattn_spatial_options *options,
                                                          const muattn_tensor *out, const muattn_tensor *lse) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    static constexpr muattn_spatial_options kDefaults{};
    const muattn_spatial_options &o = options != nullptr ? *options : kDefaults;
    SpatialCall call;
    MUATTN_RETURN_IF_ERROR(check_spatial_call(call, q, k, v, o, out, lse));
    double rule = 0;
    MUATTN_RETURN_IF_ERROR(muattn_spatial_scale(o.scaling, call.d, o.d_base, &rule));
    if (call.is_empty()) {
        return no_work();
    }
    if (call.n_k == 0) {
        put_a_hidden_key(call);
    }
    return run(call, o, float(rule));
}
