// What the Halide runtime calls for errors, memory and threads.
#include "halide_hooks.h"

#include <HalideRuntime.h>

#include <algorithm>
#include <cstring>

#include "error.h"
#include "system/floating_point.h"
#include "system/thread_pool.h"
#include "system/threads_at_first.h"

namespace muattn {
namespace {

struct ParallelFor {
    muattn_parallel_for function = nullptr;
    void *user = nullptr;
};

ParallelFor parallel_for;
std::atomic<const ThreadSource *> thread_source{nullptr};
std::atomic<int> num_threads{0},
    most_threads{thread_pool::kMostThreads};  // the second: what muattn_set_num_threads() was told

// One Halide loop, in the form that the caller's parallel-for understands.
struct CallersLoop {
    void *user_context;
    halide_task_t task;
    int min;
    uint8_t *closure;
    std::atomic<int> error;
};

// Of a loop's tasks the first that fails says why.
void keep_first(std::atomic<int> &first, int error) {
    int none = 0;
    if (error != 0) {
        first.compare_exchange_strong(none, error);
    }
}

// Tasks [first, end), until one fails, with a slab of the call's. Without a call (run_parallel()) there is none.
int do_tasks(void *user_context, halide_task_t task, int first, int end, uint8_t *closure) {
    auto *call = static_cast<CallContext *>(user_context);
    Slab *const outer = current_slab;
    if (call != nullptr) {
        current_slab = call->slabs.take();
    }
    int error = 0;
    for (int i = first; i < end && error == 0; i++) {
        error = task(user_context, i, closure);
    }
    if (call != nullptr) {
        call->slabs.give_back(current_slab);
        current_slab = outer;
    }
    return error;
}

void do_callers_task(void *context, int index) {
    const DefaultFloatingPoint mode;  // its threads have modes of their own
    auto *loop = static_cast<CallersLoop *>(context);
    const int i = loop->min + index;
    keep_first(loop->error, do_tasks(loop->user_context, loop->task, i, i + 1, loop->closure));
}

// One Halide loop in runs of neighbouring tasks, which read the same keys and values and write to the same cache lines. A run is one
// part of the tasks that are left, so that runs get shorter and threads end together.
// NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding): what threads write to is not beside what they only read
struct PoolLoop {
    void *user_context;
    halide_task_t task;
    uint8_t *closure;
    int min, size, parts;
    alignas(64) std::atomic<int> next;  // task, from min
    std::atomic<int> error;

    int end_of_run(int first) const {
        const int left = size - first;
        return first + (left > parts ? left / parts : 1);
    }
    int runs() const {
        int count = 0;
        for (int first = 0; first < size; first = end_of_run(first)) {
            count++;
        }
        return count;
    }
};

bool do_next_run(void *context) {
    auto *loop = static_cast<PoolLoop *>(context);
    int first = loop->next, end = 0;
    do {
        if (first >= loop->size) {
            return false;
        }
        end = loop->end_of_run(first);
    } while (!loop->next.compare_exchange_weak(first, end));
    const int error = do_tasks(loop->user_context, loop->task, loop->min + first, loop->min + end, loop->closure);
    if (error != 0) {
        keep_first(loop->error, error);
        loop->next = loop->size;
    }
    return true;
}

// Kernels may report from several threads: the first message is the cause.
void on_error(void *user_context, const char *message) {
    auto *call = static_cast<CallContext *>(user_context);
    if (call != nullptr && call->mark == CallContext::kMark && call->failed.exchange(1) == 0) {
        strncpy(call->message, message, sizeof call->message - 1);
        for (size_t end = strlen(call->message); end > 0 && call->message[end - 1] == '\n'; end--) {
            call->message[end - 1] = 0;
        }
    }
}

void on_print(void *, const char *) {}

void *on_malloc(void *, size_t bytes) {
    if (current_slab != nullptr) {
        if (void *p = current_slab->push(bytes)) {
            return p;
        }
    }
    return allocate(bytes);
}

void on_free(void *, void *p) {
    if (current_slab != nullptr && current_slab->owns(p)) {
        current_slab->pop(p);
    } else {
        deallocate(p);
    }
}

int on_task(void *user_context, halide_task_t task, int index, uint8_t *closure) {
    const DefaultFloatingPoint mode;
    return do_tasks(user_context, task, index, index + 1, closure);
}

// NOLINTNEXTLINE(readability-non-const-parameter): Halide's signature
int on_par_for(void *user_context, halide_task_t task, int min, int size, uint8_t *closure) {
    const int threads = muattn_get_num_threads();
    if (threads > 1 && size > 1 && parallel_for.function != nullptr) {
        CallersLoop loop{user_context, task, min, closure, {0}};
        parallel_for.function(parallel_for.user, size, do_callers_task, &loop);
        return loop.error;
    }
    if (threads == 1 || size <= 1) {
        return do_tasks(user_context, task, min, min + size, closure);
    }
    constexpr int kPartsOfThread = 4;  // with two threads 2 and 8 took as long
    PoolLoop loop{user_context, task, closure, min, size, kPartsOfThread * threads, {0}, {0}};
    const ThreadSource *source = thread_source;
    (source != nullptr ? source->run : thread_pool::run)(do_next_run, &loop, loop.runs(), threads);
    return loop.error;
}

// A loop of the runtime's own, as if it were a kernel's.
int run_loop(CallContext *call, int count, KernelTask function, void *context) {
    struct Closure {
        KernelTask function;
        void *context;
    } closure{function, context};
    // NOLINTNEXTLINE(readability-non-const-parameter): Halide's signature
    const halide_task_t task = [](void *, int index, uint8_t *of_loop) {
        const auto *c = reinterpret_cast<const Closure *>(of_loop);
        return c->function(c->context, index);
    };
    install_hooks();
    return on_par_for(call, task, 0, count, reinterpret_cast<uint8_t *>(&closure));
}

}  // namespace

#if defined(_WIN32)
// Halide has no weak functions there, and has to be told.
void install_hooks() {
    static std::atomic<bool> installed{false};
    if (!installed.load(std::memory_order_acquire)) {
        halide_set_error_handler(on_error);
        halide_set_custom_print(on_print);
        halide_set_custom_malloc(on_malloc);
        halide_set_custom_free(on_free);
        halide_set_custom_do_task(on_task);
        halide_set_custom_do_par_for(on_par_for);
        installed.store(true, std::memory_order_release);
    }
}
#else
void install_hooks() {}
#endif

void set_thread_source(const ThreadSource *source) {
    if (parallel_for.function != nullptr) {  // else calls of other threads may read it
        parallel_for = {};
    }
    thread_source = source;
}

int run_kernel_tasks(CallContext &call, int count, KernelTask function, void *context) {
    return run_loop(&call, count, function, context);
}

void run_parallel(int count, muattn_task function, void *context) {
    struct Task {
        muattn_task function;
        void *context;
    } task{function, context};
    const KernelTask without_error = [](void *of_call, int index) {
        const auto *t = static_cast<const Task *>(of_call);
        t->function(t->context, index);
        return 0;
    };
    run_loop(nullptr, count, without_error, &task);
}

}  // namespace muattn

extern "C" {

using namespace muattn;

#if !defined(_WIN32)
// These are weak in Halide's runtime: ours win when the library is linked together.
void halide_error(void *user_context, const char *message) { on_error(user_context, message); }
void halide_print(void *user_context, const char *message) { on_print(user_context, message); }
void *halide_malloc(void *user_context, size_t bytes) { return on_malloc(user_context, bytes); }
void halide_free(void *user_context, void *p) { on_free(user_context, p); }
int halide_do_task(void *user_context, halide_task_t task, int index, uint8_t *closure) {
    return on_task(user_context, task, index, closure);
}
int halide_do_par_for(void *user_context, halide_task_t task, int min, int size, uint8_t *closure) {
    return on_par_for(user_context, task, min, size, closure);
}
#endif

#if defined(__MINGW32__)
// Microsoft's name, which Halide's code calls, for what touches every page of a large stack frame of rax bytes.
__asm__(".globl __chkstk\n__chkstk:\n\tjmp ___chkstk_ms\n");
#endif

muattn_status muattn_set_num_threads(int n) {
    constexpr int kMost = thread_pool::kMostThreads;
    if (n < 1 || n > kMost) {
        return fail(MUATTN_INVALID_ARGUMENT, "the number of threads must lie in 1..%d, not be %d", kMost, n);
    }
    num_threads = most_threads = n;
    return MUATTN_OK;
}

int muattn_get_num_threads(void) {
    const ThreadSource *source = thread_source.load(std::memory_order_relaxed);
    if (source != nullptr) {
        return std::min(source->threads(), most_threads.load(std::memory_order_relaxed));
    }
    int n = num_threads.load(std::memory_order_relaxed);
    if (n == 0) {
        const int first = std::min(threads_at_first(), thread_pool::kMostThreads);
        n = num_threads.compare_exchange_strong(n, first) ? first : n;
    }
    return n;
}

void muattn_set_parallel_for(muattn_parallel_for function, void *user) {
    set_thread_source(nullptr);
    parallel_for = {function, user};
}
}
