#include "memory.h"

#include <cstdint>
#include <cstring>
#include <new>

#include "error.h"
#include "system/platform.h"
#include "system/spin_lock.h"

namespace muattn {

__thread Slab *current_slab = nullptr;

namespace {

void *default_allocate(void *, size_t size, size_t alignment) { return platform::aligned_allocate(size, alignment); }

void default_deallocate(void *, void *p) { platform::aligned_free(p); }

struct Allocator {
    muattn_allocate allocate = default_allocate;
    muattn_deallocate deallocate = default_deallocate;
    void *user = nullptr;
};

Allocator allocator;
std::atomic<bool> poison{false};

// Signalling ones: who computes with one raises FE_INVALID.
void fill_with_nan(void *p, size_t bytes) {
    constexpr uint32_t kSignalling = 0xffbfffff;
    for (size_t i = 0; i + sizeof kSignalling <= bytes; i += sizeof kSignalling) {
        memcpy(static_cast<char *>(p) + i, &kSignalling, sizeof kSignalling);
    }
}

}  // namespace

void *allocate(size_t bytes) {
    void *p = allocator.allocate(allocator.user, bytes, kAlignment);
    if (p != nullptr && poison) {
        fill_with_nan(p, bytes);
    }
    return p;
}

void deallocate(void *p) {
    if (p != nullptr) {
        allocator.deallocate(allocator.user, p);
    }
}

struct Slab::Header {
    Header *below;
    bool in_use;
};

void *Slab::push(size_t bytes) {
    const auto size = size_t(block_bytes(int64_t(bytes)));
    if (size > capacity_ - used_) {
        return nullptr;
    }
    auto *header = reinterpret_cast<Header *>(memory_ + used_);
    header->below = top_;
    header->in_use = true;
    top_ = header;
    used_ += size;
    void *p = reinterpret_cast<char *>(header) + kAlignment;
    if (poison) {
        fill_with_nan(p, size - kAlignment);
    }
    return p;
}

void Slab::pop(void *p) {
    reinterpret_cast<Header *>(static_cast<char *>(p) - kAlignment)->in_use = false;
    while (top_ != nullptr && !top_->in_use) {
        used_ = size_t(reinterpret_cast<char *>(top_) - memory_);
        top_ = top_->below;
    }
}

// Slabs that no call uses at the moment.
class SlabCache {
public:
    // A slab of at least this size: the smallest kept one that is large enough, else a new one in place of a smaller one;
    // null when out of memory.
    Slab *acquire(size_t bytes) {
        Slab *small = nullptr;
        {
            SpinLock hold(lock_);
            Slab **best = nullptr;
            for (Slab **link = &free_; *link != nullptr; link = &(*link)->next_) {
                if ((*link)->capacity_ >= bytes && (best == nullptr || (*link)->capacity_ < (*best)->capacity_)) {
                    best = link;
                }
            }
            Slab **const taken = best != nullptr ? best : &free_;
            Slab *const slab = *taken;
            if (slab != nullptr) {
                *taken = slab->next_;
            }
            if (best != nullptr) {
                return slab;
            }
            small = slab;
        }
        destroy(small);
        const size_t header = (sizeof(Slab) + kAlignment - 1) / kAlignment * kAlignment;
        void *p = allocate(header + bytes);
        if (p == nullptr) {
            return nullptr;
        }
        Slab *slab = new (p) Slab;
        slab->memory_ = static_cast<char *>(p) + header;
        slab->capacity_ = bytes;
        kept_bytes_ += bytes;
        return slab;
    }

    void release(Slab *slab) {
        SpinLock hold(lock_);
        slab->next_ = free_;
        free_ = slab;
    }

    void clear() {
        Slab *all = nullptr;
        {
            SpinLock hold(lock_);
            all = free_;
            free_ = nullptr;
        }
        while (all != nullptr) {
            Slab *next = all->next_;
            destroy(all);
            all = next;
        }
    }

    size_t bytes() const { return kept_bytes_; }

    // Under the lock.
    void forget_slabs_in_use() {
        size_t bytes = 0;
        for (const Slab *slab = free_; slab != nullptr; slab = slab->next_) {
            bytes += slab->capacity_;
        }
        kept_bytes_ = bytes;
    }

    bool try_hold() { return !lock_.test_and_set(std::memory_order_acquire); }
    void let_go() { lock_.clear(std::memory_order_release); }

    static Slab *&next(Slab *slab) { return slab->next_; }

private:
    void destroy(Slab *slab) {
        if (slab != nullptr) {
            kept_bytes_ -= slab->capacity_;
            deallocate(slab);
        }
    }

    Slab *free_ = nullptr;
    std::atomic<size_t> kept_bytes_{0};
    std::atomic_flag lock_ = ATOMIC_FLAG_INIT;
};

namespace {

SlabCache cache;

// When the library is unloaded, what it has kept would be lost. An allocator of the caller's may be gone by then; and a program may end
// in the middle of a call.
#if !defined(__wasi__)
__attribute__((destructor)) void free_cache() {
    if (allocator.deallocate == default_deallocate && cache.try_hold()) {
        cache.let_go();
        cache.clear();
    }
}
#endif

}  // namespace

void hold_scratch() {
    while (!cache.try_hold()) {
        platform::yield();
    }
}

void let_go_of_scratch() { cache.let_go(); }

void release_scratch() { cache.clear(); }

void start_scratch_anew_in_child() {
    cache.forget_slabs_in_use();
    cache.let_go();
}

SlabPool::~SlabPool() {
    while (free_ != nullptr) {
        Slab *slab = free_;
        free_ = SlabCache::next(slab);
        cache.release(slab);
    }
}

muattn_status SlabPool::reserve(int count, int64_t bytes) {
    const bool addressable = uint64_t(bytes) < SIZE_MAX / 2;
    for (int i = 0; i < count; i++) {
        Slab *slab = addressable ? cache.acquire(size_t(bytes)) : nullptr;
        if (slab == nullptr) {
            return fail(MUATTN_OUT_OF_MEMORY, "out of memory: %lld bytes of scratch for each of %d threads",
                        static_cast<long long>(bytes), count);
        }
        give_back(slab);
    }
    return MUATTN_OK;
}

Slab *SlabPool::take() {
    for (;;) {
        {
            SpinLock hold(lock_);
            if (free_ != nullptr) {
                Slab *slab = free_;
                free_ = SlabCache::next(slab);
                return slab;
            }
        }
        platform::yield();
    }
}

void SlabPool::give_back(Slab *slab) {
    SpinLock hold(lock_);
    SlabCache::next(slab) = free_;
    free_ = slab;
}

}  // namespace muattn

extern "C" {

using namespace muattn;

muattn_status muattn_set_allocator(muattn_allocate allocate, muattn_deallocate deallocate, void *user) {
    if ((allocate == nullptr) != (deallocate == nullptr)) {
        return fail(MUATTN_INVALID_ARGUMENT, "allocate and deallocate must both be given, or both be null");
    }
    cache.clear();
    allocator = allocate != nullptr ? Allocator{allocate, deallocate, user} : Allocator{};
    return MUATTN_OK;
}

size_t muattn_scratch_bytes(void) { return cache.bytes(); }

void muattn_set_scratch_poison(int enabled) { poison = enabled != 0; }
}
