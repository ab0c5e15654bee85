// A lock for a few instructions.
#pragma once

#include <atomic>

#include "platform.h"

namespace muattn {

class SpinLock {
public:
    explicit SpinLock(std::atomic_flag &flag) : flag_(flag) {
        while (flag_.test_and_set(std::memory_order_acquire)) {
            platform::yield();
        }
    }
    ~SpinLock() { flag_.clear(std::memory_order_release); }
    SpinLock(const SpinLock &) = delete;
    SpinLock &operator=(const SpinLock &) = delete;

private:
    std::atomic_flag &flag_;
};

}  // namespace muattn
