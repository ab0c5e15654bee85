#include "tensor.h"

#include <algorithm>
#include <cstdlib>

#include "error.h"

namespace muattn {
namespace {

constexpr int64_t kMaxSpan = INT64_C(1) << 31;  // elements: kernels index with 32 bits
constexpr int64_t kMaxSize = INT64_C(1) << 30;  // of a dimension: kernels add two of them, and round up to whole tiles

Wide magnitude(int64_t stride) { return stride < 0 ? -Wide(stride) : Wide(stride); }

// The first and last element that the tensor reaches, relative to data.
struct Span {
    Wide first = 0, last = 0;
};

Span span_of(const muattn_tensor &t) {
    Span span;
    for (int i = 0; i < 4; i++) {
        const Wide reach = Wide(t.shape[i] - 1) * t.strides[i];
        (reach < 0 ? span.first : span.last) += reach;
    }
    return span;
}

// The dimensions that have more than one index, by rising |stride|.
struct Layout {
    int count = 0;
    int64_t shape[4];
    Wide stride[4];
};

Layout layout_of(const muattn_tensor &t) {
    Layout layout;
    for (int i = 0; i < 4; i++) {
        if (t.shape[i] > 1) {
            int at = layout.count++;
            for (; at > 0 && layout.stride[at - 1] > magnitude(t.strides[i]); at--) {
                layout.shape[at] = layout.shape[at - 1];
                layout.stride[at] = layout.stride[at - 1];
            }
            layout.shape[at] = t.shape[i];
            layout.stride[at] = magnitude(t.strides[i]);
        }
    }
    return layout;
}

// Every stride steps over all that the smaller ones reach, so each element has one index.
bool elements_are_distinct(const muattn_tensor &t) {
    const Layout layout = layout_of(t);
    Wide reach = 0;
    for (int i = 0; i < layout.count; i++) {
        if (layout.stride[i] <= reach) {
            return false;
        }
        reach += layout.stride[i] * (layout.shape[i] - 1);
    }
    return true;
}

// A dimension of two tensors: how far apart two of their indices may be, in steps of stride, which is not negative.
struct Steps {
    Wide stride, least, most;
};

Wide divide_down(Wide a, Wide b) { return a >= 0 ? a / b : -((b - 1 - a) / b); }

// Whether left is a sum of steps, as many of each dimension as it has. Strides fall. Where many numbers of a dimension's steps are worth a look,
// the answer is yes, to be safe.
bool is_reachable(const Steps *dims, int count, Wide left) {
    if (count == 0) {
        return left == 0;
    }
    Wide least = 0, most = 0;  // of the others
    for (int i = 1; i < count; i++) {
        least += dims[i].stride * dims[i].least;
        most += dims[i].stride * dims[i].most;
    }
    const Wide stride = dims[0].stride, first = std::max(dims[0].least, -divide_down(most - left, stride)),
               last = std::min(dims[0].most, divide_down(left - least, stride));
    constexpr int kWorthALook = 3;
    if (last - first >= kWorthALook) {
        return true;
    }
    for (Wide steps = first; steps <= last; steps++) {
        if (is_reachable(dims + 1, count - 1, left - steps * stride)) {
            return true;
        }
    }
    return false;
}

// False only when no element can be shared: apart in memory, or interleaved slices of one array (equal strides, an offset
// that no difference of two indices reaches).
bool may_overlap(const Argument &argument_a, const Argument &argument_b) {
    if (argument_a.is_empty() || argument_b.is_empty()) {
        return false;
    }
    const muattn_tensor &a = argument_a.tensor, &b = argument_b.tensor;
    const Span span_a = span_of(a), span_b = span_of(b);
    const Wide element_a = argument_a.element_bytes(), element_b = argument_b.element_bytes();
    Wide at_a = reinterpret_cast<intptr_t>(a.data), at_b = reinterpret_cast<intptr_t>(b.data);
    if (a.device == MUATTN_VULKAN || a.device == MUATTN_OPENCL) {  // names of buffers, not addresses
        if (at_a != at_b) {
            return false;
        }
        at_a = a.offset * element_a;
        at_b = b.offset * element_b;
    }
    if (at_a + (span_a.last + 1) * element_a <= at_b + span_b.first * element_b ||
        at_b + (span_b.last + 1) * element_b <= at_a + span_a.first * element_a) {
        return false;
    }
    if (element_a != element_b) {
        return true;
    }
    const Wide element = element_a;
    if ((at_b - at_a) % element != 0) {
        return true;
    }
    Steps dims[4];
    int count = 0;
    for (int i = 0; i < 4; i++) {
        const int64_t sa = a.strides[i], sb = b.strides[i];
        if (sa != sb && a.shape[i] > 1 && b.shape[i] > 1) {
            return true;
        }
        const int64_t stride = a.shape[i] > 1 ? sa : sb;
        if ((a.shape[i] == 1 && b.shape[i] == 1) || stride == 0) {
            continue;
        }
        Steps steps{magnitude(stride), -Wide(b.shape[i] - 1), Wide(a.shape[i] - 1)};
        if (stride < 0) {
            steps = {steps.stride, -steps.most, -steps.least};
        }
        int at = count++;
        for (; at > 0 && dims[at - 1].stride < steps.stride; at--) {
            dims[at] = dims[at - 1];
        }
        dims[at] = steps;
    }
    return is_reachable(dims, count, (at_b - at_a) / element);
}

bool is_allowed(muattn_dtype dtype, Dtypes dtypes) {
    switch (dtype) {
    case MUATTN_FLOAT32: return true;
    case MUATTN_FLOAT16:
    case MUATTN_BFLOAT16: return dtypes == Dtypes::floats || dtypes == Dtypes::floats_or_int8;
    case MUATTN_INT8: return dtypes == Dtypes::floats_or_int8;
    case MUATTN_BOOL: return dtypes == Dtypes::mask;
    }
    return false;
}

const char *words_of(Dtypes dtypes) {
    switch (dtypes) {
    case Dtypes::float32: return "float32";
    case Dtypes::floats: return "float32, float16 or bfloat16";
    case Dtypes::floats_or_int8: return "float32, float16, bfloat16 or int8";
    case Dtypes::mask: return "float32 or bool";
    }
    return "";
}

}  // namespace

const char *name_of(muattn_dtype dtype) {
    switch (dtype) {
    case MUATTN_FLOAT32: return "float32";
    case MUATTN_BOOL: return "bool";
    case MUATTN_FLOAT16: return "float16";
    case MUATTN_BFLOAT16: return "bfloat16";
    case MUATTN_INT8: return "int8";
    }
    return "an unknown number";
}

muattn_status check_dtype(const Argument &argument, const Argument &other) {
    return argument.tensor.dtype == other.tensor.dtype
               ? MUATTN_OK
               : fail(argument.status, "%s.dtype must be that of %s: %s, not %s", argument.name, other.name,
                      name_of(other.tensor.dtype), name_of(argument.tensor.dtype));
}

muattn_status check_tensor(Argument &argument, const muattn_tensor *tensor, TensorRules rules) {
    const char *name = argument.name;
    if (tensor == nullptr) {
        return fail(argument.status, "%s must not be null", name);
    }
    muattn_tensor &t = argument.tensor = *tensor;
    if (!is_allowed(t.dtype, rules.dtypes)) {
        return fail(argument.status, "%s.dtype: %s is not supported; it must be %s", name, name_of(t.dtype),
                    words_of(rules.dtypes));
    }
    if (t.device < MUATTN_CPU || t.device > MUATTN_OPENCL) {
        return fail(argument.status, "%s.device: %d is unknown", name, int(t.device));
    }
    if (t.offset < 0 || t.offset >= kMaxSpan) {
        return fail(argument.status, "%s.offset must lie in 0..2^31-1, not be %lld", name,
                    static_cast<long long>(t.offset));
    }
    for (int i = 0; i < 4; i++) {
        if (t.shape[i] < 0 || t.shape[i] > kMaxSize) {
            return fail(argument.status, "%s.shape[%d] must lie in 0..2^30, not be %lld", name, i,
                        static_cast<long long>(t.shape[i]));
        }
    }
    if (argument.is_empty()) {  // nothing is ever read or written
        t.strides[0] = t.strides[1] = t.strides[2] = 0, t.strides[3] = 1;
        return MUATTN_OK;
    }
    if (t.strides[0] == 0 && t.strides[1] == 0 && t.strides[2] == 0 && t.strides[3] == 0) {
        Wide stride = 1;
        for (int i = 3; i >= 0; i--) {
            t.strides[i] = int64_t(stride < kMaxSpan ? stride : Wide(kMaxSpan));
            stride *= t.shape[i];
        }
    }
    for (int i = 0; i < 4; i++) {
        if (t.shape[i] == 1) {
            t.strides[i] = i == 3 ? 1 : 0;  // never stepped along
        } else if (magnitude(t.strides[i]) >= kMaxSpan) {
            return fail(argument.status, "%s spans 2^31 elements or more", name);
        }
    }
    if (t.strides[3] != 1 && !rules.free_inner_stride) {
        return fail(argument.status,
                    "%s.strides[3] must be 1 (elements; the innermost dimension is contiguous), not %lld", name,
                    static_cast<long long>(t.strides[3]));
    }
    // A kernel counts elements, repeated ones too, and whole strides, one more along each dimension than there are steps.
    Wide elements = 1;
    for (int i = 0; i < 4; i++) {
        elements *= t.shape[i];
        if (elements >= kMaxSpan || magnitude(t.strides[i]) * t.shape[i] >= kMaxSpan) {
            return fail(argument.status, "%s spans 2^31 elements or more", name);
        }
    }
    const Span span = span_of(t);
    if (span.last - span.first >= kMaxSpan - 1) {
        return fail(argument.status, "%s spans 2^31 elements or more", name);
    }
    if (t.data == nullptr) {
        return fail(argument.status, "%s.data must not be null, unless a size is 0", name);
    }
    if (t.device == MUATTN_CPU || t.device == MUATTN_CUDA) {
        if (reinterpret_cast<uintptr_t>(t.data) % argument.element_bytes() != 0) {
            return fail(argument.status, "%s.data must be aligned to %zu bytes", name, argument.element_bytes());
        }
        t.data = static_cast<uint8_t *>(t.data) + size_t(t.offset) * argument.element_bytes();
        t.offset = 0;
    }
    return MUATTN_OK;
}

muattn_status check_device(const Argument &argument, const Argument &other) {
    return argument.tensor.device == other.tensor.device
               ? MUATTN_OK
               : fail(argument.status, "%s.device must be that of %s: all tensors of a call are in one device's memory",
                      argument.name, other.name);
}

bool any_negative_stride(std::initializer_list<const Argument *> arguments) {
    for (const Argument *argument : arguments) {
        for (int dim = 0; dim < 4; dim++) {
            if (argument->tensor.strides[dim] < 0 && argument->tensor.shape[dim] > 1) {
                return true;
            }
        }
    }
    return false;
}

muattn_status check_head_dim(const Argument &argument, int dim, const char *dim_name) {
    if (argument.size(dim) < 1 || argument.size(dim) > MUATTN_MAX_D) {
        return fail(argument.status, "%s.shape[%d] (%s) must lie in 1..%d, not be %lld", argument.name, dim, dim_name,
                    MUATTN_MAX_D, static_cast<long long>(argument.size(dim)));
    }
    return MUATTN_OK;
}

muattn_status check_size(const Argument &argument, int dim, const char *dim_name, int64_t size, const char *rule) {
    if (argument.size(dim) != size) {
        return fail(argument.status, "%s.shape[%d] (%s) %s: %lld, not %lld", argument.name, dim, dim_name, rule,
                    static_cast<long long>(size), static_cast<long long>(argument.size(dim)));
    }
    return MUATTN_OK;
}

muattn_status check_like(Argument &argument, const muattn_tensor *tensor, const Argument &other,
                         const char *const (&dims)[4], const char *rule) {
    MUATTN_RETURN_IF_ERROR(check_tensor(argument, tensor, kDenseFloats));
    MUATTN_RETURN_IF_ERROR(check_dtype(argument, other));
    MUATTN_RETURN_IF_ERROR(check_device(argument, other));
    for (int dim = 0; dim < 4; dim++) {
        MUATTN_RETURN_IF_ERROR(check_size(argument, dim, dims[dim], other.size(dim), rule));
    }
    return MUATTN_OK;
}

muattn_status check_output(const Argument &output, const Argument *const *others, int count) {
    if (!output.is_empty() && !elements_are_distinct(output.tensor)) {
        return fail(output.status, "%s.strides: two indices must not share an element", output.name);
    }
    for (int i = 0; i < count; i++) {
        if (may_overlap(output, *others[i])) {
            return fail(output.status, "%s must not overlap %s", output.name, others[i]->name);
        }
    }
    return MUATTN_OK;
}

}  // namespace muattn
