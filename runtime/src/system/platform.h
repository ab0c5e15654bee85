// What the runtime asks of an operating system, where POSIX, Windows and WASI differ.
#pragma once

#include <cstddef>
#include <cstdlib>

#if defined(_WIN32)
#include <malloc.h>
#include <windows.h>
#elif defined(__wasi__)
// One thread.
#else
#include <sched.h>
#include <unistd.h>
#endif

namespace muattn::platform {

// The processors that this process may use, or 0 if that is not known.
inline int processors() {
#if defined(_WIN32)
    SYSTEM_INFO info;
    GetSystemInfo(&info);
    return int(info.dwNumberOfProcessors);
#elif defined(__linux__)
    cpu_set_t set;  // for 1024 processors; with more of them the call fails
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : int(sysconf(_SC_NPROCESSORS_ONLN));
#elif defined(__wasi__)
    return 1;
#else
    return int(sysconf(_SC_NPROCESSORS_ONLN));
#endif
}

// Lets another thread run.
inline void yield() {
#if defined(_WIN32)
    SwitchToThread();
#elif !defined(__wasi__)
    sched_yield();
#endif
}

inline void *aligned_allocate(size_t size, size_t alignment) {
#if defined(_WIN32)
    return _aligned_malloc(size, alignment);
#else
    void *p = nullptr;
    return posix_memalign(&p, alignment, size) == 0 ? p : nullptr;
#endif
}

inline void aligned_free(void *p) {
#if defined(_WIN32)
    _aligned_free(p);
#else
    free(p);
#endif
}

}  // namespace muattn::platform
