// An allocator that counts, and that fails when it is told to.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <map>
#include <mutex>

#include "muattn/muattn.h"

namespace muattn::test {

// Counts what it gives and takes, and fails from one allocation on.
class CountingAllocator {
public:
    CountingAllocator() { muattn_set_allocator(allocate, deallocate, this); }
    ~CountingAllocator() { muattn_set_allocator(nullptr, nullptr, nullptr); }
    CountingAllocator(const CountingAllocator &) = delete;
    CountingAllocator &operator=(const CountingAllocator &) = delete;

    int allocations = 0;        // asked for
    int unknown_frees = 0;      // pointers that it never gave
    int fail_only = -1;         // the number of the one allocation that fails
    int fail_from = INT32_MAX;  // the number of the first allocation that fails
    std::map<void *, size_t> live;

private:
    static void *allocate(void *user, size_t size, size_t alignment) {
        auto *self = static_cast<CountingAllocator *>(user);
        const std::lock_guard<std::mutex> lock(self->mutex_);
        const int number = self->allocations++;
        void *p = nullptr;
        if (number != self->fail_only && number < self->fail_from && posix_memalign(&p, alignment, size) == 0) {
            self->live[p] = size;
        }
        return p;
    }

    static void deallocate(void *user, void *p) {
        auto *self = static_cast<CountingAllocator *>(user);
        const std::lock_guard<std::mutex> lock(self->mutex_);
        self->unknown_frees += self->live.erase(p) == 0;
        free(p);
    }

    std::mutex mutex_;
};

}  // namespace muattn::test
