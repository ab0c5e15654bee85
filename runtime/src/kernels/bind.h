// The last steps of every public call: a kernel's arguments, its memory, the kernel, its status. An operation has one function
// bind(binder, call, kernel) that names its arguments in the order of the generator's; where they lie is the binder's matter.
#pragma once

#include "common/arguments.h"
#include "common/error.h"
#include "common/halide_hooks.h"
#include "registry.h"
#ifdef MUATTN_GPU
#include "gpu/binder.h"
#endif

namespace muattn {

// What a kernel needs besides its arguments.
struct Work {
    int64_t tasks = 1;          // that run at once, at most
    int64_t scratch_bytes = 0;  // of one task
    int64_t serial_bytes = 0;   // of what lives from one parallel step to the next
    int64_t shared_bytes = 0;   // of a GPU's thread block
};

struct Choice {
    const Kernel *kernel = nullptr;  // null where the build has none for the call
    Work work;
    // A call on so many of the queries, or on a multiple, gives the bits of a call on all. 0: there is no such number.
    int64_t queries_together = 0;
};

// What a kernel on a processor takes for itself. For several runs of one kernel, none of which takes more, it is reserved once.
class KernelMemory {
public:
    muattn_status reserve(const Work &work);

private:
    friend class HostBinder;
    CallContext call_;
    SlabPool serial_;
    bool with_serial_ = false;
};

// Arguments in the host's memory.
class HostBinder : public Arguments {
public:
    explicit HostBinder(const Kernel &kernel) : kernel_(kernel) {}
    HostBinder(const HostBinder &) = delete;
    HostBinder &operator=(const HostBinder &) = delete;
    ~HostBinder() { deallocate(unwanted_); }

    muattn_status input(const Argument &argument) {
        next_buffer().bind(argument);
        return MUATTN_OK;
    }
    muattn_status input_rows(const Argument &argument) {
        BoundBuffer &buffer = next_buffer();
        buffer.bind(argument);
        buffer.leave_out_innermost();
        return MUATTN_OK;
    }
    muattn_status input(const HostArray &array) {
        next_buffer().bind(array);
        return MUATTN_OK;
    }
    muattn_status output(const Argument &argument) { return input(argument); }
    // One number per row: the kernel writes it once for each of so many columns.
    muattn_status output_rows(const Argument &argument, int64_t columns) {
        BoundBuffer &buffer = next_buffer();
        buffer.bind(argument);
        buffer.repeat_innermost(columns);
        return MUATTN_OK;
    }
    // The same where nobody wants it.
    muattn_status unwanted_rows(const int64_t (&shape)[4], int64_t columns);

    // Runs the kernel and translates its result.
    muattn_status run(KernelMemory &memory);

private:
    const Kernel &kernel_;
    void *unwanted_ = nullptr;
};

template<typename Call>
muattn_status bind_and_run(const Kernel &kernel, const Call &call, const Work &work) {
#ifdef MUATTN_GPU
    if (kernel.device != MUATTN_CPU) {
        gpu::Binder binder(kernel);
        MUATTN_RETURN_IF_ERROR(binder.check_shared(work.shared_bytes));
        MUATTN_RETURN_IF_ERROR(bind(binder, call, kernel));
        MUATTN_RETURN_IF_ERROR(binder.run());
        remember_kernel(kernel);
        return MUATTN_OK;
    }
#endif
    KernelMemory memory;
    HostBinder binder(kernel);
    MUATTN_RETURN_IF_ERROR(bind(binder, call, kernel));
    MUATTN_RETURN_IF_ERROR(memory.reserve(work));
    return binder.run(memory);
}

}  // namespace muattn
