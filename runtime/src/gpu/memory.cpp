#include "memory.h"

#include <HalideRuntime.h>

#include <algorithm>
#include <atomic>

#include "common/error.h"
#include "cuda.h"
#include "device.h"
#include "failure.h"
#include "system/spin_lock.h"

extern "C" int halide_vulkan_release_unused_device_allocations(void *user_context);  // no header has it

namespace muattn::gpu {
namespace {

constexpr int kMostKept = 64;
Allocation kept[kMostKept];
int kept_count = 0;
std::atomic_flag busy = ATOMIC_FLAG_INIT;

// What Halide's functions take: a buffer of bytes.
struct Bytes {
    halide_dimension_t dim;
    halide_buffer_t buffer{};

    Bytes(const Allocation &allocation, void *host, size_t bytes) : dim(0, int32_t(bytes), 1) {
        buffer.device = allocation.handle;
        buffer.device_interface = allocation.handle != 0 ? interface_of(allocation.device) : nullptr;
        buffer.host = static_cast<uint8_t *>(host);
        buffer.type = halide_type_t(halide_type_uint, 8);
        buffer.dimensions = 1;
        buffer.dim = &dim;
    }
};

constexpr size_t kMostBytes = size_t(INT32_MAX);  // Halide's buffers are below 2^31 bytes

// Sizes that calls of slightly different shapes share: four to a power of two.
size_t rounded(size_t bytes) {
    size_t step = 1024;
    while (step * 8 < bytes) {
        step *= 2;
    }
    return bytes > kMostBytes ? bytes : std::min(kMostBytes, (bytes + step - 1) / step * step);
}

// The first functions of what a device interface of Halide 21 hides, src/runtime/device_interface.h.
struct Implementation {
    void (*use_module)();
    void (*release_module)();
    int (*device_malloc)(void *user_context, halide_buffer_t *buffer);
    int (*device_free)(void *user_context, halide_buffer_t *buffer);
};
const Implementation &implementation_of(muattn_device device) {
    return *reinterpret_cast<const Implementation *>(interface_of(device)->impl);
}

// On CUDA, Halide's runtime would keep what is freed for itself, beside what is kept here: not in this scope.
thread_local bool halide_keeps = true;
class NothingKept {
public:
    explicit NothingKept(muattn_device device) { halide_keeps = device != MUATTN_CUDA; }
    NothingKept(const NothingKept &) = delete;
    NothingKept &operator=(const NothingKept &) = delete;
    ~NothingKept() { halide_keeps = true; }
};

void free_now(const Allocation &allocation) {
    const NothingKept nothing_kept(allocation.device);
    CallContext context;
    Bytes bytes(allocation, nullptr, allocation.bytes);
    muattn_queue &calls = cuda::given();
    const muattn_queue before = calls;
    if (allocation.device == MUATTN_CUDA && allocation.queue.context != nullptr) {  // where it is from
        calls.context = allocation.queue.context;
    }
    implementation_of(allocation.device).device_free(&context, &bytes.buffer);
    calls = before;
}

muattn_device device_of(const halide_device_interface_t *interface) {
    for (const muattn_device device : {MUATTN_CUDA, MUATTN_VULKAN}) {
        if (interface == interface_of(device)) {
            return device;
        }
    }
    return MUATTN_OPENCL;
}

}  // namespace

muattn_status take(CallContext &context, muattn_device device, size_t bytes, Allocation *allocation) {
    const size_t size = rounded(bytes);
    if (size > kMostBytes) {
        return fail(MUATTN_UNSUPPORTED, "a tensor of %zu MiB is copied to the device: at most 2047 are", size >> 20);
    }
    const QueueKey queue = queue_key(device);
    {
        const SpinLock lock(busy);
        for (int i = 0; i < kept_count; i++) {
            if (kept[i].device == device && kept[i].bytes == size && kept[i].queue == queue) {
                *allocation = kept[i];
                kept[i] = kept[--kept_count];
                return MUATTN_OK;
            }
        }
    }
    *allocation = {device, 0, size, queue};
    Bytes fresh(*allocation, nullptr, size);
    for (const bool again : {false, true}) {
        const NothingKept nothing_kept(device);
        if (implementation_of(device).device_malloc(&context, &fresh.buffer) == 0) {
            allocation->handle = fresh.buffer.device;
            return MUATTN_OK;
        }
        if (!again) {
            release();
            context.failed = false;
        }
    }
    return fail(MUATTN_OUT_OF_MEMORY, "out of device memory: %zu bytes: %s", size, context.message);
}

void give_back(const Allocation &allocation) {
    {
        const SpinLock lock(busy);
        if (kept_count < kMostKept) {
            kept[kept_count++] = allocation;
            return;
        }
    }
    free_now(allocation);
}

void release() {
    bool vulkan = false;
    for (;;) {
        Allocation last;
        {
            const SpinLock lock(busy);
            if (kept_count == 0) {
                break;
            }
            last = kept[--kept_count];
        }
        vulkan |= last.device == MUATTN_VULKAN;
        free_now(last);
    }
    if (vulkan) {
        CallContext context;
        halide_vulkan_release_unused_device_allocations(&context);
    }
}

void forget_memory() {
    kept_count = 0;
    busy.clear(std::memory_order_release);
}

size_t kept_bytes() {
    const SpinLock lock(busy);
    size_t sum = 0;
    for (int i = 0; i < kept_count; i++) {
        sum += kept[i].bytes;
    }
    return sum;
}

muattn_status copy_to_device(CallContext &context, const Allocation &allocation, const void *host, size_t bytes) {
    Bytes view(allocation, const_cast<void *>(host), bytes);
    view.buffer.set_host_dirty();
    const int error = halide_copy_to_device(&context, &view.buffer, interface_of(allocation.device));
    return error == 0 ? MUATTN_OK : failure("copy to the device", error, context);
}

muattn_status copy_to_host(CallContext &context, const Allocation &allocation, void *host, size_t bytes) {
    Bytes view(allocation, host, bytes);
    view.buffer.set_device_dirty();
    int error = halide_copy_to_host(&context, &view.buffer);
    if (error == 0) {  // on a stream, into pinned memory, Halide's copy has only been asked for
        error = halide_device_sync(&context, &view.buffer);
    }
    return error == 0 ? MUATTN_OK : failure("copy from the device", error, context);
}

}  // namespace muattn::gpu

// Weak in Halide's runtime: what a kernel keeps between its steps comes from the same memory. Halide's own reuse on Vulkan gives out
// buffers that are too small (docs/halide-notes.md).
extern "C" {

using namespace muattn;

int halide_device_malloc(void *user_context, halide_buffer_t *buffer, const halide_device_interface_t *interface) {
    if (buffer->device_interface != nullptr && buffer->device_interface != interface) {
        return halide_error_code_incompatible_device_interface;
    }
    if (buffer->device != 0) {
        return 0;
    }
    gpu::Allocation allocation;
    auto &context = *static_cast<CallContext *>(user_context);
    if (gpu::take(context, gpu::device_of(interface), buffer->size_in_bytes(), &allocation) != MUATTN_OK) {
        return halide_error_code_device_malloc_failed;
    }
    buffer->device = allocation.handle;
    buffer->device_interface = interface;
    return 0;
}

bool halide_can_reuse_device_allocations(void *) { return gpu::halide_keeps; }

int halide_device_free(void *, halide_buffer_t *buffer) {
    if (buffer->device != 0) {
        const muattn_device device = gpu::device_of(buffer->device_interface);
        gpu::give_back({device, buffer->device, gpu::rounded(buffer->size_in_bytes()), gpu::queue_key(device)});
    }
    buffer->device = 0;
    buffer->device_interface = nullptr;
    buffer->set_device_dirty(false);
    return 0;
}
}
