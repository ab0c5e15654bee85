#include "interpreter.h"

#include <atomic>
#include <chrono>
#include <thread>

namespace muattn::python {

// Up to Python 3.13 an ending interpreter ends a thread that asks for the GIL, by pthread_exit. glibc unwinds the thread's
// stack for that, and would end the process at the first noexcept function above, which nanobind has. Later versions let
// the thread wait for the end of the process; so does this.
void take_gil(PyThreadState *thread) {
    try {
        PyEval_RestoreThread(thread);
    } catch (...) {
        for (;;) {
            std::this_thread::sleep_for(std::chrono::hours(1));
        }
    }
}

bool is_only_interpreter() {
    static std::atomic<int64_t> first{-1};
    const int64_t id = PyInterpreterState_GetID(PyInterpreterState_Get());
    int64_t none = -1;
    return first.compare_exchange_strong(none, id) || none == id;
}

}  // namespace muattn::python
