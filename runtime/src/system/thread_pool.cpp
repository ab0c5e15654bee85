#include "thread_pool.h"

#if !defined(_WIN32) && !defined(__wasi__)

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>

#include "floating_point.h"
#include "platform.h"

namespace muattn::thread_pool {
namespace {

constexpr int kMostWorkers = kMostThreads - 1;  // and the caller

// A thread with nothing to do looks this often, and lets others run in between, before it sleeps: waking one takes as long as a short
// call. 18 microseconds of processor time on a Zen 5.
constexpr int kLooks = 40;

struct OpenLoop {
    NextPart next_part;
    void *of_caller;
    int most;                 // threads that may be inside
    std::atomic<int> inside;  // that are, the caller among them; changed under the lock
    pthread_cond_t all_left;  // the caller waits for it
    OpenLoop *older;
    bool listed;
};

struct alignas(64) Worker {
    pthread_t thread;
    pthread_cond_t wake;
    bool asleep;
};

// Loops that have begun, ever. Read after each part of a loop, so it has a cache line of its own.
struct alignas(64) Arrivals : std::atomic<unsigned> {};
Arrivals arrivals{};

// All that follows changes under the lock.
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
Worker workers[kMostWorkers];
int count = 0;    // of workers
int allowed = 0;  // the first of them, that may work
int looking = 0;  // those that neither sleep nor are in a loop
bool making = false, ending = false;
OpenLoop *newest = nullptr;  // of those with parts left

void lock() { pthread_mutex_lock(&mutex); }
void unlock() { pthread_mutex_unlock(&mutex); }

void enter_list(OpenLoop &loop) {
    loop.older = newest;
    loop.listed = true;
    newest = &loop;
    arrivals++;
}

void leave_list(OpenLoop &loop) {
    if (loop.listed) {
        OpenLoop **link = &newest;
        while (*link != &loop) {
            link = &(*link)->older;
        }
        *link = loop.older;
        loop.listed = false;
    }
}

// The loop that has the fewest threads, of several the newest; null where none takes another.
OpenLoop *neediest() {
    OpenLoop *best = nullptr;
    for (OpenLoop *loop = newest; loop != nullptr; loop = loop->older) {
        if (loop->inside < loop->most && (best == nullptr || loop->inside < best->inside)) {
            best = loop;
        }
    }
    return best;
}

// Works on the loop until it has no parts left, or another one came.
void work_on(OpenLoop &loop) {
    loop.inside++;
    looking--;
    const unsigned seen = arrivals;
    unlock();
    bool any = true;
    while (any && arrivals.load(std::memory_order_relaxed) == seen) {
        any = loop.next_part(loop.of_caller);
    }
    lock();
    looking++;
    if (!any) {
        leave_list(loop);
    }
    if (--loop.inside == 0) {
        pthread_cond_signal(&loop.all_left);
    }
}

void *work(void *p) {
    const DefaultFloatingPoint mode;  // not that of who made the thread
    auto &self = *static_cast<Worker *>(p);
    bool looked = false;
    lock();
    while (!ending) {
        const bool is_allowed = &self - workers < allowed;
        OpenLoop *const loop = is_allowed ? neediest() : nullptr;
        if (loop != nullptr) {
            work_on(*loop);
            looked = false;
        } else if (is_allowed && !looked) {
            const unsigned seen = arrivals;
            unlock();
            for (int i = 0; i < kLooks && arrivals.load(std::memory_order_relaxed) == seen; i++) {
                platform::yield();
            }
            lock();
            looked = true;
        } else {
            self.asleep = true;
            looking--;
            while (self.asleep) {  // who wakes it counts it as looking
                pthread_cond_wait(&self.wake, &mutex);
            }
            looked = false;
        }
    }
    unlock();
    return nullptr;
}

// Signals go to the program's threads: one that waits for them with sigwait() must not lose them to the library's. Only those that
// a thread causes by what it does can come, so that a handler reports a bad pointer.
bool start(Worker &worker) {
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
        sigdelset(&blocked, fault);
    }
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    const bool started = pthread_create(&worker.thread, nullptr, work, &worker) == 0;
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    return started;
}

// Fewer where the system gives no more. Not under the lock: creating a thread may take the memory allocator's, which fork() may hold
// while it waits for this one.
void make_workers(int wanted) {
    if (making || ending) {
        return;
    }
    making = true;
    bool started = true;
    while (started && count < wanted && !ending) {
        Worker &worker = workers[count];
        pthread_cond_init(&worker.wake, nullptr);
        worker.asleep = false;
        looking++;
        unlock();
        started = start(worker);
        lock();
        if (started) {
            count++;
        } else {
            looking--;
        }
    }
    making = false;
}

// The workers to wake, so that as many look as the open loops take.
int choose_sleepers(Worker **chosen) {
    int wanted = -looking;
    for (const OpenLoop *loop = newest; loop != nullptr; loop = loop->older) {
        wanted += loop->most - loop->inside;
    }
    int n = 0;
    for (int i = 0; i < std::min(allowed, count) && n < wanted; i++) {
        if (workers[i].asleep) {
            workers[i].asleep = false;
            looking++;
            chosen[n++] = &workers[i];
        }
    }
    return n;
}

void wait_until_all_left(OpenLoop &loop) {
    if (loop.inside > 0) {
        unlock();
        for (int i = 0; i < kLooks && loop.inside > 0; i++) {
            platform::yield();
        }
        lock();
    }
    while (loop.inside > 0) {
        pthread_cond_wait(&loop.all_left, &mutex);
    }
}

// When the library is unloaded, no call runs, and every thread ends at once. When the program ends, calls of other threads may
// run, and a signal's handler may have ended it in the middle of anything: then threads are left to the system.
__attribute__((destructor)) void end_workers() {
    constexpr int kTries = 1000;
    for (int i = 0; pthread_mutex_trylock(&mutex) != 0; i++) {
        if (i == kTries) {
            return;
        }
        platform::yield();
    }
    ending = true;
    for (int i = 0; i < count; i++) {
        if (workers[i].asleep) {
            workers[i].asleep = false;
            looking++;
            pthread_cond_signal(&workers[i].wake);
        }
    }
    const bool all_idle = looking == count && !making;
    unlock();
    for (int i = 0; all_idle && i < count; i++) {
        pthread_join(workers[i].thread, nullptr);
    }
}

}  // namespace

void run(NextPart next_part, void *of_caller, int parts, int threads) {
    OpenLoop loop{next_part, of_caller, std::min(parts, threads), {1}, {}, nullptr, false};
    if (loop.most < 2) {
        while (next_part(of_caller)) {
        }
        return;
    }
    pthread_cond_init(&loop.all_left, nullptr);
    Worker *sleepers[kMostWorkers];
    lock();
    allowed = threads - 1;
    enter_list(loop);
    const int woken = choose_sleepers(sleepers);
    make_workers(loop.most - 1);
    unlock();
    for (int i = 0; i < woken; i++) {
        pthread_cond_signal(&sleepers[i]->wake);
    }
    while (next_part(of_caller)) {
    }
    lock();
    leave_list(loop);
    loop.inside--;
    wait_until_all_left(loop);
    unlock();
    pthread_cond_destroy(&loop.all_left);
}

void hold() { lock(); }
void let_go() { unlock(); }

void start_anew_in_child() {
    pthread_mutex_init(&mutex, nullptr);
    count = allowed = looking = 0;
    making = false;
    newest = nullptr;
}

}  // namespace muattn::thread_pool

#endif
