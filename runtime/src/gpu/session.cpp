#include "session.h"

#include <cstring>

#include "common/error.h"
#include "common/memory.h"
#include "cuda.h"
#include "device.h"
#include "failure.h"
#include "opencl.h"
#include "small_write.h"

namespace muattn::gpu {
namespace {

size_t dense_bytes(const Argument &argument) {
    size_t elements = 1;
    for (int dim = 0; dim < 4; dim++) {
        elements *= size_t(argument.size(dim));
    }
    return elements * argument.element_bytes();
}

bool is_dense(const Argument &argument) {
    int64_t stride = 1;
    for (int dim = 3; dim >= 0; dim--) {
        if (argument.size(dim) > 1 && argument.tensor.strides[dim] != stride) {
            return false;
        }
        stride *= argument.size(dim);
    }
    return true;
}

Argument dense(const Argument &argument) {
    Argument result = argument;
    int64_t stride = 1;
    for (int dim = 3; dim >= 0; dim--) {
        result.tensor.strides[dim] = stride;
        stride *= argument.size(dim);
    }
    return result;
}

// Calls row(tensor's row, dense row) for every row, the innermost dimension.
template<typename Row>
void for_each_row(const Argument &argument, uint8_t *dense_data, const Row &row) {
    const size_t element = argument.element_bytes();
    const int64_t *s = argument.tensor.strides;
    auto *data = static_cast<uint8_t *>(argument.tensor.data);
    for (int64_t b = 0; b < argument.size(0); b++) {
        for (int64_t h = 0; h < argument.size(1); h++) {
            for (int64_t i = 0; i < argument.size(2); i++) {
                row(data + (b * s[0] + h * s[1] + i * s[2]) * int64_t(element), dense_data);
                dense_data += size_t(argument.size(3)) * element;
            }
        }
    }
}

// Copies one row, whose elements in the tensor may lie apart.
void copy_row(uint8_t *to, int64_t to_step, const uint8_t *from, int64_t from_step, int64_t count, size_t element) {
    if (to_step == 1 && from_step == 1) {
        memcpy(to, from, size_t(count) * element);
        return;
    }
    for (int64_t e = 0; e < count; e++) {
        memcpy(to + e * to_step * int64_t(element), from + e * from_step * int64_t(element), element);
    }
}

class HostCopy {
public:
    explicit HostCopy(size_t bytes) : data_(static_cast<uint8_t *>(allocate(bytes))) {}
    HostCopy(const HostCopy &) = delete;
    HostCopy &operator=(const HostCopy &) = delete;
    ~HostCopy() { deallocate(data_); }
    uint8_t *data() const { return data_; }

private:
    uint8_t *data_;
};

void put_on_device(BoundBuffer &buffer, const Allocation &allocation) {
    buffer.buffer.host = nullptr;
    buffer.buffer.device = allocation.handle;
    buffer.buffer.device_interface = interface_of(allocation.device);
}

}  // namespace

Session::~Session() {
    for (int i = 0; i < count_; i++) {
        give_back(copies_[i].allocation);
    }
    cuda::leave();
}

muattn_status Session::check_shared(int64_t bytes) const {
    const size_t most = device_ == MUATTN_OPENCL ? opencl::shared_bytes() : SIZE_MAX;  // Halide asks Vulkan itself
    return size_t(bytes) <= most ? MUATTN_OK
                                 : fail(MUATTN_UNSUPPORTED, "%s takes %lld bytes of shared memory, the device has %zu",
                                        kernel_.name, static_cast<long long>(bytes), most);
}

muattn_status Session::new_copy(size_t bytes, Copy **copy) {
    MUATTN_RETURN_IF_ERROR(take(context_, device_, bytes, &copies_[count_].allocation));
    *copy = &copies_[count_++];
    return MUATTN_OK;
}

muattn_status Session::upload(BoundBuffer &buffer, size_t bytes) {
    const void *const data = buffer.buffer.host;
    Copy *copy = nullptr;
    MUATTN_RETURN_IF_ERROR(new_copy(bytes, &copy));
    if (!write_small(context_, copy->allocation, data, bytes)) {
        MUATTN_RETURN_IF_ERROR(copy_to_device(context_, copy->allocation, data, bytes));
    }
    put_on_device(buffer, copy->allocation);
    return MUATTN_OK;
}

muattn_status Session::wrap(BoundBuffer &buffer, const Argument &argument) {
    const muattn_tensor &t = argument.tensor;
    int64_t last = 0;
    for (int dim = 0; dim < 4; dim++) {
        if (t.strides[dim] < 0) {
            return fail(argument.status, "%s.strides[%d] must not be negative in device memory", argument.name, dim);
        }
        last += (t.shape[dim] - 1) * t.strides[dim];
    }
    if (device_ == MUATTN_CUDA && !cuda::adopt_context_of(t.data)) {
        return fail(argument.status, "%s.data is no pointer of CUDA's, and the thread has no context", argument.name);
    }
    const size_t element = argument.element_bytes();
    buffer.bind(argument);
    buffer.buffer.host = nullptr;
    buffer.buffer.device = wrapped_[wrapped_count_++].device_handle(device_, t.data, size_t(t.offset) * element,
                                                                    size_t(last + 1) * element);
    buffer.buffer.device_interface = interface_of(device_);
    return MUATTN_OK;
}

muattn_status Session::input(BoundBuffer &buffer, const Argument &argument) {
    if (argument.tensor.device == device_) {
        return wrap(buffer, argument);
    }
    // Dimensions along which nothing changes stay so: a mask for all heads is copied once.
    Argument distinct = argument;
    for (int dim = 0; dim < 4; dim++) {
        if (argument.tensor.strides[dim] == 0) {
            distinct.tensor.shape[dim] = 1;
        }
    }
    Argument copied = dense(distinct);
    for (int dim = 0; dim < 4; dim++) {
        if (argument.tensor.strides[dim] == 0) {
            copied.tensor.shape[dim] = argument.size(dim);
            copied.tensor.strides[dim] = 0;
        }
    }
    buffer.bind(copied);
    const size_t bytes = dense_bytes(distinct);
    if (is_dense(distinct)) {
        return upload(buffer, bytes);
    }
    const HostCopy packed(bytes);
    if (packed.data() == nullptr) {
        return fail(MUATTN_OUT_OF_MEMORY, "out of memory: a copy of %s", argument.name);
    }
    for_each_row(distinct, packed.data(), [&](const uint8_t *row, uint8_t *dense_row) {
        copy_row(dense_row, 1, row, distinct.tensor.strides[3], distinct.size(3), distinct.element_bytes());
    });
    buffer.buffer.host = packed.data();
    return upload(buffer, bytes);
}

muattn_status Session::output(BoundBuffer &buffer, const Argument &argument) {
    if (argument.tensor.device == device_) {
        return wrap(buffer, argument);
    }
    Copy *copy = nullptr;
    MUATTN_RETURN_IF_ERROR(new_copy(dense_bytes(argument), &copy));
    copy->result = &argument;
    buffer.bind(dense(argument));
    put_on_device(buffer, copy->allocation);
    return MUATTN_OK;
}

muattn_status Session::unwanted(BoundBuffer &buffer, const int64_t *shape) {
    const Argument nothing{
        "", MUATTN_INTERNAL_ERROR, {nullptr, MUATTN_FLOAT32, device_, {shape[0], shape[1], shape[2], shape[3]}, {}, 0}};
    Copy *copy = nullptr;
    MUATTN_RETURN_IF_ERROR(new_copy(dense_bytes(nothing), &copy));
    buffer.bind(dense(nothing));
    put_on_device(buffer, copy->allocation);
    return MUATTN_OK;
}

muattn_status Session::copy_back(const Copy &copy) {
    const Argument &result = *copy.result;
    const size_t bytes = dense_bytes(result);
    if (is_dense(result)) {
        return copy_to_host(context_, copy.allocation, result.tensor.data, bytes);
    }
    const HostCopy packed(bytes);
    if (packed.data() == nullptr) {
        return fail(MUATTN_OUT_OF_MEMORY, "out of memory: a copy of %s", result.name);
    }
    MUATTN_RETURN_IF_ERROR(copy_to_host(context_, copy.allocation, packed.data(), bytes));
    for_each_row(result, packed.data(), [&](uint8_t *row, const uint8_t *dense_row) {
        copy_row(row, result.tensor.strides[3], dense_row, 1, result.size(3), result.element_bytes());
    });
    return MUATTN_OK;
}

muattn_status Session::run(void **arguments) {
    if (device_ == MUATTN_CUDA) {
        MUATTN_RETURN_IF_ERROR(cuda::check_capability(context_));
    }
    void *user_context = &context_;
    arguments[0] = &user_context;
    const int error = kernel_.run(arguments);
    if (error != 0) {
        return failure(kernel_.name, error, context_);
    }
    for (int i = 0; i < count_; i++) {
        if (copies_[i].result != nullptr) {
            MUATTN_RETURN_IF_ERROR(copy_back(copies_[i]));
        }
    }
    return MUATTN_OK;
}

}  // namespace muattn::gpu
