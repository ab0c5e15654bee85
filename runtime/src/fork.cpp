// fork() beside calls: a child has the forking thread alone, and what the others were in the middle of. So nobody is in the middle of
// anything while a process forks, and the child starts without the pool's threads and without devices.
#if !defined(_WIN32) && !defined(__wasi__)

#include <pthread.h>

#include "common/memory.h"
#include "common/openmp.h"
#include "gpu/device.h"
#include "system/thread_pool.h"

namespace muattn {
namespace {

void before() {
    thread_pool::hold();
    hold_scratch();
}

void after_in_parent() {
    let_go_of_scratch();
    thread_pool::let_go();
}

void after_in_child() {
    start_scratch_anew_in_child();
    thread_pool::start_anew_in_child();
    openmp::forget_threads_in_child();
    gpu::forget_devices_of_parent();
}

// glibc drops the handlers of a library that is unloaded.
__attribute__((constructor)) void install() { pthread_atfork(before, after_in_parent, after_in_child); }

}  // namespace
}  // namespace muattn

#endif
