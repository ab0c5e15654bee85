// A thread that runs kernels, while the thread that calls MPI keeps messages going.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <utility>

namespace muattn::mpi::detail {

// One piece of work at a time, all on the same thread: an OpenMP runtime makes its threads anew for each that calls it.
class Worker {
public:
    Worker() = default;
    Worker(const Worker &) = delete;
    Worker &operator=(const Worker &) = delete;
    ~Worker() {
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            ends_ = true;
        }
        changed_.notify_all();
        if (thread_.joinable()) {
            thread_.join();
        }
    }

    bool has_started() const { return thread_.joinable(); }
    void start(std::function<void()> work) {
        if (!thread_.joinable()) {
            thread_ = std::thread([this] { run(); });
        }
        {
            const std::lock_guard<std::mutex> lock(mutex_);
            work_ = std::move(work);
            busy_ = true;
            failure_ = nullptr;
        }
        changed_.notify_all();
    }
    // Whether the work is done, at the latest after this time.
    bool is_done_within(std::chrono::microseconds time) {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, time, [this] { return !busy_; });
    }
    // Until the work is done. Throws what it has thrown.
    void finish() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return !busy_; });
        if (failure_) {
            std::rethrow_exception(failure_);
        }
    }

private:
    void run() {
        std::unique_lock<std::mutex> lock(mutex_);
        while (true) {
            changed_.wait(lock, [this] { return busy_ || ends_; });
            if (!busy_) {
                return;
            }
            lock.unlock();
            std::exception_ptr failure;
            try {
                work_();
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            failure_ = failure;
            busy_ = false;
            changed_.notify_all();
        }
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::function<void()> work_;
    std::exception_ptr failure_;
    bool busy_ = false, ends_ = false;
    std::thread thread_;
};

}  // namespace muattn::mpi::detail
