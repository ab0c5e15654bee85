#include "cuda.h"

#include <HalideRuntime.h>

#include <cstdint>

#include "common/error.h"
#include "device.h"
#include "drivers.h"

// Of Halide's runtime, which has no headers for them.
extern "C" {
int halide_default_cuda_acquire_context(void *user_context, void **context, bool create);
int halide_cuda_acquire_context(void *user_context, void **context, bool create);
int halide_cuda_get_stream(void *user_context, void *context, void **stream);
}

namespace muattn::gpu::cuda {
namespace {

template<typename Function>
Function function(const char *name) {
    return driver_function<Function>(MUATTN_CUDA, name);
}

thread_local muattn_queue given_queue{};
thread_local void *adopted = nullptr;

void *current_context() {
    const auto current = function<int (*)(void **)>("cuCtxGetCurrent");
    void *context = nullptr;
    return current != nullptr && current(&context) == 0 ? context : nullptr;
}

// 70 for 7.0; 0 where the driver does not say.
int capability(int device) {
    constexpr int kMajor = 75, kMinor = 76;
    const auto attribute = function<int (*)(int *, int, int)>("cuDeviceGetAttribute");
    int major = 0, minor = 0;
    return attribute != nullptr && attribute(&major, kMajor, device) == 0 && attribute(&minor, kMinor, device) == 0
               ? major * 10 + minor
               : 0;
}

// Of memory that belongs to a device and not to a context, e.g. of a pool, the device's primary context. It stays retained: work in its
// queue may outlive the call.
void *context_of(uintptr_t pointer) {
    constexpr int kContext = 1, kDevice = 9;
    const auto attribute = function<int (*)(void *, int, uintptr_t)>("cuPointerGetAttribute");
    void *context = nullptr;
    if (attribute == nullptr || (attribute(&context, kContext, pointer) == 0 && context != nullptr)) {
        return context;
    }
    const auto retain = function<int (*)(void **, int)>("cuDevicePrimaryCtxRetain");
    int device = 0;
    return retain != nullptr && attribute(&device, kDevice, pointer) == 0 && retain(&context, device) == 0 ? context
                                                                                                           : nullptr;
}

}  // namespace

const char *unavailable() {
    const auto init = function<int (*)(unsigned)>("cuInit");
    const auto count_of = function<int (*)(int *)>("cuDeviceGetCount");
    const auto device_at = function<int (*)(int *, int)>("cuDeviceGet");
    int count = 0, device = 0;
    if (init == nullptr || count_of == nullptr) {
        return "no CUDA driver";
    }
    if (init(0) != 0 || count_of(&count) != 0 || count == 0) {
        return "the CUDA driver has no device";
    }
    for (int i = 0; i < count; i++) {
        if (device_at != nullptr && device_at(&device, i) == 0 && capability(device) >= MUATTN_CUDA_CAPABILITY) {
            return nullptr;
        }
    }
    return "no CUDA device has the compute capability that the kernels are compiled for, " MUATTN_CUDA_CAPABILITY_NAME
           ", or a later one";
}

muattn_queue &given() { return given_queue; }

void *context() {
    if (given_queue.context != nullptr) {
        return given_queue.context;
    }
    void *const current = current_context();
    return current != nullptr ? current : adopted;
}

bool adopt_context_of(void *data) {
    if (context() == nullptr) {
        adopted = context_of(reinterpret_cast<uintptr_t>(data));
    }
    return context() != nullptr;
}

void leave() { adopted = nullptr; }

Entered::Entered(CallContext &call) {
    const auto push = function<int (*)(void *)>("cuCtxPushCurrent_v2");
    void *context = nullptr;
    done_ = push != nullptr && halide_cuda_acquire_context(&call, &context, true) == 0 && push(context) == 0;
}

Entered::~Entered() {
    const auto pop = function<int (*)(void **)>("cuCtxPopCurrent_v2");
    void *context = nullptr;
    if (done_ && pop != nullptr) {
        pop(&context);
    }
}

muattn_status check_capability(CallContext &call) {
    const auto device_of = function<int (*)(int *)>("cuCtxGetDevice");
    const Entered entered(call);
    int device = 0;
    if (!entered.done() || device_of == nullptr || device_of(&device) != 0) {
        return MUATTN_OK;  // whoever needs the context next says why there is none
    }
    const int found = capability(device);
    return found >= MUATTN_CUDA_CAPABILITY
               ? MUATTN_OK
               : fail(MUATTN_UNSUPPORTED,
                      "the CUDA device has compute capability %d.%d: the kernels are compiled for %s and later",
                      found / 10, found % 10, MUATTN_CUDA_CAPABILITY_NAME);
}

}  // namespace muattn::gpu::cuda

// Weak in Halide's runtime.
extern "C" {

using namespace muattn::gpu;

int halide_cuda_acquire_context(void *user_context, void **context, bool create) {
    if (is_of_parent(MUATTN_CUDA)) {  // the end of a child of fork()
        *context = nullptr;
        return create ? halide_error_code_gpu_device_error : 0;
    }
    *context = cuda::context();
    return *context != nullptr ? 0 : halide_default_cuda_acquire_context(user_context, context, create);
}

int halide_cuda_get_stream(void *, void *, void **stream) {
    *stream = cuda::given().queue;
    return 0;
}
}
