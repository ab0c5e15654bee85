// What every call of the library is framed by: its status as an exception, and the queue of its arrays' device.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "muattn/muattn.h"

namespace muattn::python {

// Raises what the status stands for, unless it is MUATTN_OK.
void check(muattn_status status);

// CUcontext and CUstream, of arrays in CUDA memory.
using Queue = std::optional<std::pair<uintptr_t, uintptr_t>>;

// Lets this thread's CUDA calls go to the queue, and afterwards to the library's choice again.
class InQueue {
public:
    explicit InQueue(const Queue &queue) : given_(queue.has_value()) {
        if (given_) {
            const muattn_queue handles{reinterpret_cast<void *>(queue->first), reinterpret_cast<void *>(queue->second),
                                       nullptr, nullptr, 0};
            check(muattn_set_queue(MUATTN_CUDA, &handles));
        }
    }
    InQueue(const InQueue &) = delete;
    InQueue &operator=(const InQueue &) = delete;
    ~InQueue() {
        if (given_) {
            muattn_set_queue(MUATTN_CUDA, nullptr);
        }
    }

private:
    bool given_;
};

}  // namespace muattn::python
