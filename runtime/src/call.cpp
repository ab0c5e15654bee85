#include "call.h"

#include <HalideRuntime.h>

#include "error.h"

namespace muattn {

muattn_status run_kernel(const Kernel &kernel, void **arguments, int64_t tasks, size_t scratch_bytes) {
    CallContext call;
    const int threads = muattn_get_num_threads();
    MUATTN_RETURN_IF_ERROR(call.slabs.reserve(int(tasks < threads ? tasks : threads), scratch_bytes));
    void *user_context = &call;
    arguments[0] = &user_context;
    const int error = kernel.run(arguments);
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
