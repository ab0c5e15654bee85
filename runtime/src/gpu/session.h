// One call on a GPU: its tensors in device memory, the kernel, and the results back where they belong.
#pragma once

#include "common/bound_buffer.h"
#include "common/error.h"
#include "common/kernel.h"
#include "memory.h"
#include "wrapped.h"

namespace muattn::gpu {

class Session {
public:
    explicit Session(const Kernel &kernel) : kernel_(kernel), device_(kernel.device) { open(device_); }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;
    ~Session();

    // Whether the device has as much shared memory as the kernel takes.
    muattn_status check_shared(int64_t bytes) const;
    // Binds buffer to the argument in device memory: the caller's where it is there already, else a copy.
    muattn_status input(BoundBuffer &buffer, const Argument &argument);
    // The same for an output, which run() copies back where it is not in device memory.
    muattn_status output(BoundBuffer &buffer, const Argument &argument);
    // What a buffer that is bound to the host's memory holds there: its first so many bytes.
    muattn_status upload(BoundBuffer &buffer, size_t bytes);
    // Device memory for what the kernel writes and nobody wants: dense, of this shape.
    muattn_status unwanted(BoundBuffer &buffer, const int64_t *shape);

    // Runs the kernel. arguments[0] is left free for the user context.
    muattn_status run(void **arguments);

private:
    struct Copy {
        Allocation allocation;
        const Argument *result = nullptr;  // that is to be copied back, from a dense copy
    };
    static constexpr int kMaxBuffers = 16;

    muattn_status new_copy(size_t bytes, Copy **copy);
    muattn_status copy_back(const Copy &copy);
    // Binds buffer to the caller's memory on the device.
    muattn_status wrap(BoundBuffer &buffer, const Argument &argument);

    const Kernel &kernel_;
    muattn_device device_;
    CallContext context_;
    Copy copies_[kMaxBuffers];
    Wrapped wrapped_[kMaxBuffers];
    int count_ = 0, wrapped_count_ = 0;
};

}  // namespace muattn::gpu
