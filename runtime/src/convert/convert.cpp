// muattn_convert: check, choose a kernel, run it on pieces; between tensors of float32 a copy.
#include <cstring>

#include "common/error.h"
#include "common/tensor.h"
#include "kernels/convert.h"
#include "kernels/registry.h"
#include "system/floating_point.h"

namespace muattn {
namespace {

muattn_status check_conversion(Argument &from, Argument &to) {
    if (!from.is_float() && !to.is_float()) {
        return fail(to.status, "to.dtype must be float32 where from is %s, not %s", name_of(from.tensor.dtype),
                    name_of(to.tensor.dtype));
    }
    MUATTN_RETURN_IF_ERROR(check_device(to, from));
    for (int dim = 0; dim < 4; dim++) {
        if (to.size(dim) != from.size(dim)) {
            return fail(to.status, "to.shape[%d] must equal from's: %lld, not %lld", dim,
                        static_cast<long long>(from.size(dim)), static_cast<long long>(to.size(dim)));
        }
    }
    const Argument *const inputs[] = {&from};
    return check_output(to, inputs, 1);
}

// Dimensions that lie behind each other in both tensors become one, so that rows are as long as they can be.
void join_dimensions(muattn_tensor &from, muattn_tensor &to) {
    int last = 3;
    for (int dim = 2; dim >= 0; dim--) {
        const int64_t size = from.shape[dim], from_stride = from.strides[dim], to_stride = to.strides[dim];
        from.shape[dim] = to.shape[dim] = 1;
        if (size == 1) {
            continue;
        }
        if (from_stride != from.strides[last] * from.shape[last] || to_stride != to.strides[last] * to.shape[last]) {
            last--;
            from.shape[last] = 1;
            from.strides[last] = from_stride, to.strides[last] = to_stride;
        }
        from.shape[last] *= size;
        to.shape[last] = from.shape[last];
    }
}

void copy(const Argument &from, const Argument &to) {
    const size_t bytes = size_t(from.size(3)) * from.element_bytes();
    for (int64_t b = 0; b < from.size(0); b++) {
        for (int64_t h = 0; h < from.size(1); h++) {
            for (int64_t row = 0; row < from.size(2); row++) {
                memcpy(to.row(b, h, row), from.row(b, h, row), bytes);
            }
        }
    }
}

muattn_status run(Conversion conversion) {
    join_dimensions(conversion.from.tensor, conversion.to.tensor);
    Tasks tasks;
    MUATTN_RETURN_IF_ERROR(tasks.reserve(conversion.pieces(), Slab::block_bytes(0), 0));
    run_conversions(tasks, &conversion, 1);
    MUATTN_RETURN_IF_ERROR(tasks.status(*conversion.kernel));
    remember_kernel(*conversion.kernel);
    return MUATTN_OK;
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_convert(const muattn_tensor *from, const muattn_tensor *to) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    Argument source{"from", MUATTN_INVALID_ARGUMENT, {}}, target{"to", MUATTN_INVALID_ARGUMENT, {}};
    MUATTN_RETURN_IF_ERROR(check_tensor(source, from, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_tensor(target, to, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_conversion(source, target));
    if (target.is_empty()) {
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(source.tensor.device, &backend));
    if (device_of(backend) != MUATTN_CPU) {
        return no_kernel(backend);
    }
    Converter of_source, of_target;
    MUATTN_RETURN_IF_ERROR(find_converter(backend, source, &of_source));
    MUATTN_RETURN_IF_ERROR(find_converter(backend, target, &of_target));
    const Kernel *kernel = source.is_float() ? of_target.round : of_source.widen;
    if (kHasOtherTypes && kernel != nullptr) {
        return run({source, target, kernel});
    }
    copy(source, target);
    return no_work();
}
