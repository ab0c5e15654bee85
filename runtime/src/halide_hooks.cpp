// What the Halide runtime calls for errors, memory and threads.
#include "halide_hooks.h"

#include <HalideRuntime.h>

#include <cstring>

#include "error.h"
#include "platform.h"

namespace muattn {
namespace {

constexpr int kMaxThreads = 256;

struct ParallelFor {
    muattn_parallel_for function = nullptr;
    void *user = nullptr;
};

ParallelFor parallel_for;
std::atomic<int> num_threads{0};

int usable_processors() {
    const int n = platform::processors();
    return n < 1 ? 1 : n > kMaxThreads ? kMaxThreads : n;
}

// Ours and Halide's number together; only_first leaves a number that was set already.
void set_threads(int n, bool only_first) {
    static std::atomic_flag lock = ATOMIC_FLAG_INIT;
    while (lock.test_and_set(std::memory_order_acquire)) {
        platform::yield();
    }
    if (!only_first || num_threads == 0) {
        num_threads = n;
        halide_set_num_threads(n);
    }
    lock.clear(std::memory_order_release);
}

// One Halide loop, in the form that the caller's parallel-for understands.
struct CallersLoop {
    void *user_context;
    halide_task_t task;
    int min;
    uint8_t *closure;
    std::atomic<int> error;
};

void do_callers_task(void *context, int index) {
    auto *loop = static_cast<CallersLoop *>(context);
    const int error = halide_do_task(loop->user_context, loop->task, loop->min + index, loop->closure);
    if (error != 0) {
        loop->error = error;
    }
}

// One Halide loop in runs of neighbouring tasks, which read the same keys and values and write to the same cache lines. Halide's
// pool locks for each index it hands out, and hands neighbours to different threads: it gets an index for each run. A run is one
// part of the tasks that are left, so that runs get shorter and threads end together.
struct PoolLoop {
    halide_task_t task;
    uint8_t *closure;
    int min, size, parts;
    std::atomic<int> next;  // task, from min

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

int do_next_run(void *user_context, int, uint8_t *closure) {
    auto *loop = reinterpret_cast<PoolLoop *>(closure);
    int first = loop->next, end = 0;
    do {
        end = loop->end_of_run(first);
    } while (!loop->next.compare_exchange_weak(first, end));
    // Not read again from beside next, which other threads write to.
    const halide_task_t task = loop->task;
    const int min = loop->min;
    uint8_t *const of_task = loop->closure;
    for (int i = first; i < end; i++) {
        if (const int error = task(user_context, min + i, of_task)) {
            return error;
        }
    }
    return 0;
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
    auto *call = static_cast<CallContext *>(user_context);
    if (call == nullptr) {  // run_parallel()
        return task(user_context, index, closure);
    }
    Slab *const outer = current_slab;
    current_slab = call->slabs.take();
    const int error = task(user_context, index, closure);
    call->slabs.give_back(current_slab);
    current_slab = outer;
    return error;
}

// NOLINTNEXTLINE(readability-non-const-parameter): Halide's signature
int on_par_for(void *user_context, halide_task_t task, int min, int size, uint8_t *closure) {
    const int threads = muattn_get_num_threads();
    if (threads > 1 && size > 1 && parallel_for.function != nullptr) {
        CallersLoop loop{user_context, task, min, closure, {0}};
        parallel_for.function(parallel_for.user, size, do_callers_task, &loop);
        return loop.error;
    }
    constexpr int kPartsOfThread = 4;  // with two threads 2 and 8 took as long
    PoolLoop loop{task, closure, min, size, threads > 1 ? kPartsOfThread * threads : 1, {0}};
    auto *closure_of_runs = reinterpret_cast<uint8_t *>(&loop);
    const int runs = loop.runs();
    return runs == 1 ? halide_do_task(user_context, do_next_run, 0, closure_of_runs)
                     : halide_default_do_par_for(user_context, do_next_run, 0, runs, closure_of_runs);
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

void run_parallel(int count, muattn_task function, void *context) {
    struct Closure {
        muattn_task function;
        void *context;
    } closure{function, context};
    // NOLINTNEXTLINE(readability-non-const-parameter): Halide's signature
    const halide_task_t task = [](void *, int index, uint8_t *of_call) {
        const auto *c = reinterpret_cast<const Closure *>(of_call);
        c->function(c->context, index);
        return 0;
    };
    install_hooks();
    on_par_for(nullptr, task, 0, count, reinterpret_cast<uint8_t *>(&closure));
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
    if (n < 1 || n > kMaxThreads) {
        return fail(MUATTN_INVALID_ARGUMENT, "the number of threads must lie in 1..%d, not be %d", kMaxThreads, n);
    }
    set_threads(n, false);
    return MUATTN_OK;
}

int muattn_get_num_threads(void) {
    if (num_threads == 0) {
        set_threads(usable_processors(), true);
    }
    return num_threads;
}

void muattn_set_parallel_for(muattn_parallel_for function, void *user) { parallel_for = {function, user}; }
}
