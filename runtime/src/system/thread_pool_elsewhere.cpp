// WebAssembly: one thread. Windows: Halide's pool.
#include "thread_pool.h"

#if defined(__wasi__)

// One thread.
void muattn::thread_pool::run(NextPart next_part, void *loop, int, int) {
    while (next_part(loop)) {
    }
}

#elif defined(_WIN32)

#include <HalideRuntime.h>

#include "spin_lock.h"

// Windows: Halide's pool. There is no fork(), and there are no signals, that it would have to know of.
namespace muattn::thread_pool {
namespace {

struct Loop {
    NextPart next_part;
    void *of_caller;
};

// NOLINTNEXTLINE(readability-non-const-parameter): Halide's signature
int do_one_part(void *, int, uint8_t *closure) {
    const auto *loop = reinterpret_cast<const Loop *>(closure);
    loop->next_part(loop->of_caller);
    return 0;
}

void set_threads(int threads) {
    static std::atomic_flag flag = ATOMIC_FLAG_INIT;
    static int now = 0;
    const SpinLock lock(flag);
    if (now != threads) {
        now = threads;
        halide_set_num_threads(threads);
    }
}

}  // namespace

void run(NextPart next_part, void *loop, int parts, int threads) {
    set_threads(threads);
    Loop closure{next_part, loop};
    halide_default_do_par_for(nullptr, do_one_part, 0, parts, reinterpret_cast<uint8_t *>(&closure));
}

}  // namespace muattn::thread_pool

#endif
