#include "bind.h"

#include <HalideRuntime.h>

#include <algorithm>

#include "common/error.h"

namespace muattn {

muattn_status HostBinder::unwanted_rows(const int64_t (&shape)[4], int64_t columns) {
    const int64_t rows = shape[0] * shape[1] * shape[2];
    unwanted_ = allocate(size_t(rows) * sizeof(float));
    if (unwanted_ == nullptr) {
        return fail(MUATTN_OUT_OF_MEMORY,
                    "out of memory: the log-sum-exp of %lld rows, which this build's kernel writes",
                    static_cast<long long>(rows));
    }
    const Argument argument{"lse",
                            MUATTN_INTERNAL_ERROR,
                            {unwanted_,
                             MUATTN_FLOAT32,
                             MUATTN_CPU,
                             {shape[0], shape[1], shape[2], 1},
                             {shape[1] * shape[2], shape[2], 1, 1},
                             0}};
    return output_rows(argument, columns);
}

muattn_status KernelMemory::reserve(const Work &work) {
    const int threads = muattn_get_num_threads();
    MUATTN_RETURN_IF_ERROR(call_.slabs.reserve(int(std::min<int64_t>(work.tasks, threads)), work.scratch_bytes));
    with_serial_ = work.serial_bytes > 0;
    return with_serial_ ? serial_.reserve(1, work.serial_bytes) : MUATTN_OK;
}

muattn_status HostBinder::run(KernelMemory &memory) {
    install_hooks();
    CallContext &call = memory.call_;
    SlabPool &serial = memory.serial_;
    void *user_context = &call;
    void **arguments = all();
    arguments[0] = &user_context;
    Slab *const outer = current_slab;
    current_slab = memory.with_serial_ ? serial.take() : nullptr;
    const int error = kernel_.run(arguments);
    if (current_slab != nullptr) {
        serial.give_back(current_slab);
    }
    current_slab = outer;
    if (error == halide_error_code_out_of_memory) {
        return fail(MUATTN_OUT_OF_MEMORY, "out of memory in %s", kernel_.name);
    }
    if (error != 0) {
        return fail(MUATTN_INTERNAL_ERROR, "%s: error %d: %s", kernel_.name, error, call.message);
    }
    remember_kernel(kernel_);
    return MUATTN_OK;
}

}  // namespace muattn
