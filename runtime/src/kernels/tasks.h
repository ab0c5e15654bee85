// Calls that run several kernels, or one many times: from loops of the runtime's own, each task on parts of the tensors.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "common/arguments.h"
#include "common/error.h"
#include "common/halide_hooks.h"
#include "common/kernel.h"

namespace muattn {

// The arguments of a kernel that a task runs, in the order of its generator's inputs and outputs.
class TaskArguments : public Arguments {
public:
    explicit TaskArguments(CallContext &call) : user_context_(&call) {}

    void array(const float *data, std::initializer_list<Extent> extents) {
        next_buffer().bind(data, halide_type_t(halide_type_float, 32), extents);
    }
    void array(const uint8_t *data, std::initializer_list<Extent> extents) {
        next_buffer().bind(data, halide_type_t(halide_type_uint, 8), extents);
    }
    void array(const void *data, halide_type_t type, std::initializer_list<Extent> extents) {
        next_buffer().bind(data, type, extents);
    }
    // 0, or Halide's error.
    int run(const Kernel &kernel) {
        void **arguments = all();
        arguments[0] = &user_context_;
        return kernel.run(arguments);
    }

private:
    void *user_context_;
};

// Memory and loops of one call. All memory is reserved before the first loop.
class Tasks {
public:
    ~Tasks() {
        if (shared_ != nullptr) {
            shared_->clear();
            shared_memory_.give_back(shared_);
        }
    }

    // For as many tasks as run at once, at most count, scratch_bytes each; and memory that all tasks share.
    muattn_status reserve(int64_t count, int64_t scratch_bytes, int64_t shared_bytes) {
        const int at_once = int(std::min<int64_t>(count, muattn_get_num_threads()));
        MUATTN_RETURN_IF_ERROR(call_.slabs.reserve(at_once, scratch_bytes));
        if (shared_bytes > 0) {
            MUATTN_RETURN_IF_ERROR(shared_memory_.reserve(1, shared_bytes));
            shared_ = shared_memory_.take();
        }
        return MUATTN_OK;
    }
    // A block of that memory: null where more is asked for than was reserved. It counts as Slab::block_bytes().
    float *shared(int64_t floats) { return static_cast<float *>(shared_->push(size_t(floats) * sizeof(float))); }
    CallContext &context() { return call_; }

    // task(i) for i in [0, count), on any threads; it gives 0, or Halide's error. What of this loop, or one before, fails ends the rest.
    template<typename Task>
    void run(int64_t count, const Task &task) {
        if (error_ == 0 && count > 0) {
            const KernelTask function = [](void *of, int index) {
                return int((*static_cast<const Task *>(of))(index));
            };
            error_ = run_kernel_tasks(call_, int(count), function, const_cast<Task *>(&task));
        }
    }
    muattn_status status(const Kernel &kernel) const {
        if (error_ == halide_error_code_out_of_memory) {
            return fail(MUATTN_OUT_OF_MEMORY, "out of memory in %s", kernel.name);
        }
        return error_ == 0 ? MUATTN_OK
                           : fail(MUATTN_INTERNAL_ERROR, "%s: error %d: %s", kernel.name, error_, call_.message);
    }

private:
    CallContext call_;
    SlabPool shared_memory_;
    Slab *shared_ = nullptr;
    int error_ = 0;
};

}  // namespace muattn
