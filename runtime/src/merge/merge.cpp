// muattn_merge: check, choose a kernel, bind, run.
#include "common/error.h"
#include "common/tensor.h"
#include "kernels/bind.h"
#include "kernels/convert.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

struct MergeCall {
    Argument a{"out_a", MUATTN_INVALID_OUT, {}}, b{"out_b", MUATTN_INVALID_OUT, {}}, out{"out", MUATTN_INVALID_OUT, {}};
    Argument lse_a{"lse_a", MUATTN_INVALID_LSE, {}}, lse_b{"lse_b", MUATTN_INVALID_LSE, {}},
        lse{"lse", MUATTN_INVALID_LSE, {}};
};

muattn_status check_sizes(const MergeCall &call) {
    MUATTN_RETURN_IF_ERROR(check_head_dim(call.a, 3, "d_v"));
    static constexpr const char *kDims[] = {"B", "H", "n_q", "d_v"};
    for (int dim = 0; dim < 4; dim++) {
        for (const Argument *other : {&call.b, &call.out}) {
            MUATTN_RETURN_IF_ERROR(check_size(*other, dim, kDims[dim], call.a.size(dim), "must equal out_a's"));
        }
        for (const Argument *other : {&call.lse_a, &call.lse_b, &call.lse}) {
            MUATTN_RETURN_IF_ERROR(dim < 3 ? check_size(*other, dim, kDims[dim], call.a.size(dim), "must equal out_a's")
                                           : check_size(*other, dim, "one per row", 1, "must be"));
        }
    }
    return MUATTN_OK;
}

Need need_of(const MergeCall &call) {
    Need need{Operation::merge, Direction::forward, {call.a.tensor.dtype, call.b.tensor.dtype, call.out.tensor.dtype}};
    need.negative_strides = any_negative_stride({&call.a, &call.b, &call.lse_a, &call.lse_b, &call.out, &call.lse});
    return need;
}

// The inputs of generators/merge/general.cpp, in their order.
template<typename Binder>
muattn_status bind(Binder &binder, const MergeCall &call, const Kernel &) {
    MUATTN_RETURN_IF_ERROR(binder.input(call.a));
    MUATTN_RETURN_IF_ERROR(binder.input(call.b));
    MUATTN_RETURN_IF_ERROR(binder.input_rows(call.lse_a));
    MUATTN_RETURN_IF_ERROR(binder.input_rows(call.lse_b));
    MUATTN_RETURN_IF_ERROR(binder.output(call.out));
    return binder.output_rows(call.lse, call.out.size(3));
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_merge(const muattn_tensor *out_a, const muattn_tensor *lse_a,
                                      const muattn_tensor *out_b, const muattn_tensor *lse_b, const muattn_tensor *out,
                                      const muattn_tensor *lse) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    MergeCall call;
    MUATTN_RETURN_IF_ERROR(check_tensor(call.a, out_a, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.b, out_b, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.out, out, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_dtype(call.b, call.a));
    MUATTN_RETURN_IF_ERROR(check_dtype(call.out, call.a));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.lse_a, lse_a, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.lse_b, lse_b, kAnyInnerStride));
    MUATTN_RETURN_IF_ERROR(check_tensor(call.lse, lse, kAnyInnerStride));
    for (const Argument *other : {&call.b, &call.out, &call.lse_a, &call.lse_b, &call.lse}) {
        MUATTN_RETURN_IF_ERROR(check_device(*other, call.a));
    }
    MUATTN_RETURN_IF_ERROR(check_sizes(call));
    const Argument *const others[] = {&call.a, &call.b, &call.lse_a, &call.lse_b, &call.out};
    MUATTN_RETURN_IF_ERROR(check_output(call.out, others, 4));
    MUATTN_RETURN_IF_ERROR(check_output(call.lse, others, 5));
    if (call.out.is_empty()) {
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.a.tensor.device, &backend));
    const Kernel *kernel = find_kernel(backend, Algorithm::general, need_of(call));
    if (kernel == nullptr) {
        Converter none;  // the type may be why
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call.a, &none));
        return no_kernel(backend);
    }
    Work work;
    work.tasks = call.a.size(0) * call.a.size(1);
    work.scratch_bytes = 1024;  // one row's weights and lse
    return bind_and_run(*kernel, call, work);
}
