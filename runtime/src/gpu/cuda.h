// CUDA's driver, as far as it is the library's to ask: devices that run the kernels, and the context of a call.
#pragma once

#include "common/halide_hooks.h"
#include "muattn/muattn.h"

namespace muattn::gpu::cuda {

// Why no device here runs the kernels; null: one does.
const char *unavailable();

// What muattn_set_queue() gave this thread.
muattn_queue &given();

// Where the thread's calls go: the context that was given, else the thread's current one, else an adopted one. Null:
// Halide's runtime makes one.
void *context();

// On a thread without a context, calls go to that of a tensor until leave(). False: CUDA does not know the pointer.
bool adopt_context_of(void *data);
void leave();

// Makes the context of the thread's calls the current one, for a scope.
class Entered {
public:
    explicit Entered(CallContext &call);
    ~Entered();
    Entered(const Entered &) = delete;
    Entered &operator=(const Entered &) = delete;
    bool done() const { return done_; }

private:
    bool done_ = false;
};

// Whether the device of the call's context runs the kernels.
muattn_status check_capability(CallContext &call);

}  // namespace muattn::gpu::cuda
