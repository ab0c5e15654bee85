#include "run.h"

#include <HalideRuntime.h>

#include <algorithm>

#include "common/error.h"

namespace muattn {

muattn_status run_kernel(const Kernel &kernel, void **arguments, const Work &work) {
    install_hooks();
    CallContext call;
    SlabPool serial;
    const int threads = muattn_get_num_threads();
    MUATTN_RETURN_IF_ERROR(call.slabs.reserve(int(std::min<int64_t>(work.tasks, threads)), work.scratch_bytes));
    if (work.serial_bytes > 0) {
        MUATTN_RETURN_IF_ERROR(serial.reserve(1, work.serial_bytes));
    }
    void *user_context = &call;
    arguments[0] = &user_context;
    Slab *const outer = current_slab;
    current_slab = work.serial_bytes > 0 ? serial.take() : nullptr;
    const int error = kernel.run(arguments);
    if (current_slab != nullptr) {
        serial.give_back(current_slab);
    }
    current_slab = outer;
    if (error == halide_error_code_out_of_memory) {
        return fail(MUATTN_OUT_OF_MEMORY, "out of memory in %s", kernel.name);
    }
    if (error != 0) {
        return fail(MUATTN_INTERNAL_ERROR, "%s: error %d: %s", kernel.name, error, call.message);
    }
    remember_kernel(kernel);
    return MUATTN_OK;
}

}  // namespace muattn
