// Where memory comes from, and the scratch memory that kernels use: one slab per running task, reserved before a kernel
// starts, so that a kernel cannot run out of memory halfway through its output. Slabs are kept between calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "muattn/muattn.h"

namespace muattn {

inline constexpr int64_t kAlignment = 128;  // what Halide asks of halide_malloc, at least

void *allocate(size_t bytes);
void deallocate(void *pointer);

// Scratch memory that is kept between calls.
void release_scratch();

// Around fork(): nobody takes or gives back scratch memory between the first two. What other threads' calls had taken is lost in
// the child.
void hold_scratch();
void let_go_of_scratch();
void start_scratch_anew_in_child();

// A stack of blocks in one allocation. Blocks may be freed in any order; space comes back when those above are free too.
class Slab {
public:
    static constexpr int64_t block_bytes(int64_t bytes) {
        return (bytes + kAlignment - 1) / kAlignment * kAlignment + kAlignment;
    }

    void *push(size_t bytes);  // null when full
    bool owns(const void *p) const { return p >= memory_ && p < memory_ + capacity_; }
    void pop(void *p);
    void clear() { used_ = 0, top_ = nullptr; }

private:
    friend class SlabCache;
    struct Header;
    char *memory_ = nullptr;
    size_t capacity_ = 0, used_ = 0;
    Header *top_ = nullptr;
    Slab *next_ = nullptr;
};

// The slabs of one call. Runs of tasks, or tasks of the caller's parallel-for, take one and give it back; one that finds none waits
// for another to finish.
class SlabPool {
public:
    ~SlabPool();
    muattn_status reserve(int count, int64_t bytes);
    Slab *take();
    void give_back(Slab *slab);

private:
    Slab *free_ = nullptr;
    std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
};

// The slab of the task that runs on this thread, or null. Not thread_local: that would ask other files to look for a C++
// initialiser at every access.
extern __thread Slab *current_slab;

}  // namespace muattn
