// The queues that calls of a thread go to.
#pragma once

#include "muattn/muattn.h"

namespace muattn::gpu {

// What tells one queue's memory from another's: memory that a queue may still work on must not serve another one.
struct QueueKey {
    void *context = nullptr, *queue = nullptr;
    bool operator==(const QueueKey &other) const { return context == other.context && queue == other.queue; }
};
QueueKey queue_key(muattn_device device);

// To be called before Halide's runtime is asked for anything on the device.
void open(muattn_device device);

}  // namespace muattn::gpu
