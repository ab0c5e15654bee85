// Another pool beside an OpenMP runtime's would fight with it: its idle threads look for work for milliseconds, on the processors that the
// pool wants. All runtimes have GNU's entry (LLVM's and Intel's for programs that g++ compiled), so one way reaches each.
#include "openmp.h"

#include "error.h"
#include "halide_hooks.h"
#include "muattn/muattn.h"

#if !defined(_WIN32) && !defined(__wasi__)

#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "system/floating_point.h"

namespace muattn::openmp {
namespace {

struct Runtime {
    void (*parallel)(void (*)(void *), void *, unsigned threads, unsigned flags);
    int (*max_threads)();
    int (*in_parallel)();
};

Runtime runtime;
std::atomic<bool> is_child{false};

bool find_in(void *handle) {
    Runtime found;
    found.parallel = reinterpret_cast<decltype(Runtime::parallel)>(dlsym(handle, "GOMP_parallel"));
    found.max_threads = reinterpret_cast<decltype(Runtime::max_threads)>(dlsym(handle, "omp_get_max_threads"));
    found.in_parallel = reinterpret_cast<decltype(Runtime::in_parallel)>(dlsym(handle, "omp_in_parallel"));
    if (found.parallel == nullptr || found.max_threads == nullptr || found.in_parallel == nullptr) {
        return false;
    }
    runtime = found;
    return true;
}

// In a loaded library, or what it needs. What is found is never unloaded: its threads may be in it.
bool find_in_library(const char *name) {
    void *const handle = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    if (handle == nullptr) {
        return false;
    }
    if (find_in(handle)) {
        return true;
    }
    dlclose(handle);
    return false;
}

struct Name {
    int index;  // of the library
    char text[4096];
};

// False: there are not as many. dlopen() has to wait until this is over: both take the loader's locks.
bool copy_name_of_library(Name &name) {
    const auto copy = [](dl_phdr_info *library, size_t, void *p) {
        auto *to = static_cast<Name *>(p);
        if (to->index-- != 0) {
            return 0;
        }
        const size_t length = strlen(library->dlpi_name);
        memcpy(to->text, library->dlpi_name, length < sizeof to->text ? length + 1 : 0);
        return 1;
    };
    name.text[0] = 0;
    return dl_iterate_phdr(copy, &name) != 0;
}

bool find_anywhere() {
    bool found = find_in(RTLD_DEFAULT);
    Name name;
    for (int i = 0; !found && (name.index = i, copy_name_of_library(name)); i++) {
        found = name.text[0] != 0 && find_in_library(name.text);
    }
    return found;
}

struct Loop {
    thread_pool::NextPart next_part;
    void *of_caller;
};

void work(void *p) {
    const DefaultFloatingPoint mode;  // its threads have modes of their own
    const auto *loop = static_cast<const Loop *>(p);
    while (loop->next_part(loop->of_caller)) {
    }
}

void run(thread_pool::NextPart next_part, void *of_caller, int parts, int threads) {
    if (is_child.load(std::memory_order_relaxed)) {
        thread_pool::run(next_part, of_caller, parts, threads);
        return;
    }
    Loop loop{next_part, of_caller};
    runtime.parallel(work, &loop, unsigned(std::min(parts, threads)), 0);
}

// In a parallel region of the caller's all threads are taken.
int threads() { return runtime.in_parallel() != 0 ? 1 : std::min(runtime.max_threads(), thread_pool::kMostThreads); }

const ThreadSource source{run, threads};

}  // namespace

void forget_threads_in_child() { is_child = true; }

}  // namespace muattn::openmp

extern "C" muattn_status muattn_use_openmp(const char *library) {
    using namespace muattn;
    if (library != nullptr ? !openmp::find_in_library(library) : !openmp::find_anywhere()) {
        return fail(MUATTN_UNSUPPORTED,
                    library != nullptr ? "library: '%s' is not loaded, or needs no OpenMP runtime"
                                       : "this process has loaded no OpenMP runtime%s",
                    library != nullptr ? library : "");
    }
    set_thread_source(&openmp::source);
    return MUATTN_OK;
}

#else

namespace muattn::openmp {
void forget_threads_in_child() {}
}  // namespace muattn::openmp

extern "C" muattn_status muattn_use_openmp(const char *) {
    return muattn::fail(MUATTN_UNSUPPORTED, "OpenMP runtimes are not looked for on this system");
}

#endif
