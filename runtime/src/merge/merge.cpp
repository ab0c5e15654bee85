// muattn_merge: check, bind, run.
#include "kernels/run.h"
#include "common/error.h"
#include "system/floating_point.h"
#include "gpu/operations.h"
#include "common/tensor.h"

extern "C" muattn_status muattn_merge(const muattn_tensor *out_a, const muattn_tensor *lse_a,
                                      const muattn_tensor *out_b, const muattn_tensor *lse_b, const muattn_tensor *out,
                                      const muattn_tensor *lse) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    Argument a{"out_a", MUATTN_INVALID_OUT, {}}, b{"out_b", MUATTN_INVALID_OUT, {}}, o{"out", MUATTN_INVALID_OUT, {}};
    Argument l_a{"lse_a", MUATTN_INVALID_LSE, {}}, l_b{"lse_b", MUATTN_INVALID_LSE, {}},
        l{"lse", MUATTN_INVALID_LSE, {}};
    MUATTN_RETURN_IF_ERROR(check_tensor(a, out_a));
    MUATTN_RETURN_IF_ERROR(check_tensor(b, out_b));
    MUATTN_RETURN_IF_ERROR(check_tensor(o, out));
    MUATTN_RETURN_IF_ERROR(check_tensor(l_a, lse_a, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_tensor(l_b, lse_b, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_tensor(l, lse, kAnyInnerStride));
    for (const Argument *other : {&b, &o, &l_a, &l_b, &l}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, a));
    }
    MUATTN_RETURN_IF_ERROR(check_head_dim(a, 3, "d_v"));
    static constexpr const char *kDims[] = {"B", "H", "n_q", "d_v"};
    for (int dim = 0; dim < 4; dim++) {
        for (const Argument *other : {&b, &o}) {
            MUATTN_RETURN_IF_ERROR(check_size(*other, dim, kDims[dim], a.size(dim), "must equal out_a's"));
        }
        for (const Argument *other : {&l_a, &l_b, &l}) {
            MUATTN_RETURN_IF_ERROR(dim < 3 ? check_size(*other, dim, kDims[dim], a.size(dim), "must equal out_a's")
                                           : check_size(*other, dim, "one per row", 1, "must be"));
        }
    }
    const Argument *const others[] = {&a, &b, &l_a, &l_b, &o};
    MUATTN_RETURN_IF_ERROR(check_output(o, others, 4));
    MUATTN_RETURN_IF_ERROR(check_output(l, others, 5));
    if (o.is_empty()) {
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(a.tensor.device, &backend));
    const Kernel *kernel = find_kernel(backend, Operation::merge, Direction::forward, a.tensor.dtype, Kind::plain,
                                       any_negative_stride({&a, &b, &l_a, &l_b, &o, &l}));
    if (kernel == nullptr) {
        return no_kernel(backend);
    }
    if (device_of(backend) != MUATTN_CPU) {
        const Argument *const tensors[] = {&a, &b, &l_a, &l_b, &o, &l};
        return gpu::run_merge(*kernel, tensors);
    }
    BoundBuffer buffer_a, buffer_b, buffer_l_a, buffer_l_b, buffer_o, buffer_l;
    buffer_a.bind(a);
    buffer_b.bind(b);
    buffer_l_a.bind_rows(l_a);
    buffer_l_b.bind_rows(l_b);
    buffer_o.bind(o);
    buffer_l.bind(l);
    buffer_l.dims[0] = halide_dimension_t(0, int32_t(o.size(3)), 0);  // generators/spatial_attention.h says why
    void *arguments[] = {nullptr,          &buffer_a.buffer, &buffer_b.buffer, &buffer_l_a.buffer, &buffer_l_b.buffer,
                         &buffer_o.buffer, &buffer_l.buffer};
    constexpr int64_t kScratch = 1024;  // one row's weights and lse
    return run_kernel(*kernel, arguments, {a.size(0) * a.size(1), kScratch});
}
