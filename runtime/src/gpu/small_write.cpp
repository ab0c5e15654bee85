#include "small_write.h"

#include <cstdint>
#include <cstring>

#include "cuda.h"
#include "drivers.h"
#include "wrapped.h"

// Of Halide's runtime, which has no headers for them.
extern "C" {
int halide_acquire_cl_context(void *user_context, void **context, void **queue, bool create);
int halide_release_cl_context(void *user_context);
}

namespace muattn::gpu {
namespace {

// Each costs the host a few microseconds; a wait costs all that is in the queue.
constexpr int kMostCommands = 32;
constexpr size_t kMostBytes = 4096;

using Word = uint32_t;
struct Words {
    Word words[kMostBytes / sizeof(Word)] = {};
    size_t count;

    Words(const void *host, size_t bytes) : count((bytes + sizeof(Word) - 1) / sizeof(Word)) {
        memcpy(words, host, bytes);
    }
    size_t run_from(size_t begin) const {
        size_t end = begin + 1;
        while (end < count && words[end] == words[begin]) {
            end++;
        }
        return end - begin;
    }
    int runs() const {
        int runs = 0;
        for (size_t i = 0; i < count; i += run_from(i)) {
            runs++;
        }
        return runs;
    }
};

// Not by an asynchronous copy: the driver may wait for the queue before it takes memory that is not pinned, and reads pinned memory, where
// the caller's scales may be, later. A null stream, the default one, is no obstacle: Halide waits there by its choice of cuMemcpyHtoD.
bool write_cuda(CallContext &context, uint64_t address, const Words &data) {
    const auto fill = driver_function<int (*)(uint64_t, Word, size_t, void *)>(MUATTN_CUDA, "cuMemsetD32Async");
    const cuda::Entered entered(context);
    if (!entered.done() || fill == nullptr || data.runs() > kMostCommands) {
        return false;
    }
    for (size_t i = 0; i < data.count; i += data.run_from(i)) {
        if (fill(address + i * sizeof(Word), data.words[i], data.run_from(i), cuda::given().queue) != 0) {
            return false;
        }
    }
    return true;
}

// A fill's pattern, of up to 128 bytes, is copied before the function returns; begin and size are multiples of its size.
bool write_opencl(CallContext &context, void *memory, const Words &data) {
    using Fill = int32_t (*)(void *, void *, const void *, size_t, size_t, size_t, uint32_t, void *const *, void **);
    constexpr size_t kMostOfOne = 128;
    const auto fill = driver_function<Fill>(MUATTN_OPENCL, "clEnqueueFillBuffer");
    void *cl_context = nullptr, *queue = nullptr;
    if (fill == nullptr || halide_acquire_cl_context(&context, &cl_context, &queue, true) != 0) {
        return false;
    }
    bool done = true;
    const size_t end = data.count * sizeof(Word);
    size_t size = kMostOfOne;
    for (size_t begin = 0; begin < end && done; begin += size) {
        while (size > end - begin) {
            size /= 2;
        }
        done = fill(queue, memory, data.words + begin / sizeof(Word), size, begin, size, 0, nullptr, nullptr) == 0;
    }
    halide_release_cl_context(&context);
    return done;
}

}  // namespace

bool write_small(CallContext &context, const Allocation &allocation, const void *host, size_t bytes) {
    if (bytes > kMostBytes) {
        return false;
    }
    switch (allocation.device) {
    case MUATTN_CUDA: return write_cuda(context, allocation.handle, Words(host, bytes));
    case MUATTN_OPENCL: return write_opencl(context, Wrapped::opencl_memory(allocation.handle), Words(host, bytes));
    default: return false;  // a call on Vulkan ends when its work is done
    }
}

}  // namespace muattn::gpu
