#include "cuda.h"

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

void *current_context() {
    const auto current = function<int (*)(void **)>("cuCtxGetCurrent");
    void *context = nullptr;
    return current != nullptr && current(&context) == 0 ? context : nullptr;
}

}  // namespace

const char *unavailable() {
    const auto init = function<int (*)(unsigned)>("cuInit");
    const auto count_of = function<int (*)(int *)>("cuDeviceGetCount");
    int count = 0;
    if (init == nullptr || count_of == nullptr) {
        return "no CUDA driver";
    }
    return init(0) == 0 && count_of(&count) == 0 && count > 0 ? nullptr : "the CUDA driver has no device";
}

muattn_queue &given() { return given_queue; }

void *context() { return given_queue.context != nullptr ? given_queue.context : current_context(); }

}  // namespace muattn::gpu::cuda

// Weak in Halide's runtime.
extern "C" {

using namespace muattn::gpu;

int halide_cuda_acquire_context(void *user_context, void **context, bool create) {
    *context = cuda::context();
    return *context != nullptr ? 0 : halide_default_cuda_acquire_context(user_context, context, create);
}

int halide_cuda_get_stream(void *, void *, void **stream) {
    *stream = cuda::given().queue;
    return 0;
}
}
