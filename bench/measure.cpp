#include "measure.h"

#include <muattn/muattn.hpp>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "machine_limits.h"

namespace {

using nlohmann::json;
using Call = std::function<void()>;

// While it lives, calls run their tasks in turn, and it sees how many tasks their largest parallel step has, counted rather than
// derived from the schedule.
class TaskCounter {
public:
    TaskCounter() { muattn_set_parallel_for(run, this); }
    ~TaskCounter() { muattn_set_parallel_for(nullptr, nullptr); }
    int most() const { return most_; }

private:
    static void run(void *self, int count, muattn_task task, void *context) {
        int &most = static_cast<TaskCounter *>(self)->most_;
        most = std::max(most, count);
        for (int index = 0; index < count; index++) {
            task(context, index);
        }
    }
    int most_ = 1;
};

// While it lives, the library's memory comes through it, all that it has kept before is freed, and it sees the most that was in use
// at a time.
class MemoryCounter {
public:
    MemoryCounter() { muattn::check(muattn_set_allocator(allocate, deallocate, this)); }
    ~MemoryCounter() { muattn_set_allocator(nullptr, nullptr, nullptr); }
    size_t most() const { return most_; }

private:
    static void *allocate(void *self, size_t size, size_t alignment) {
        auto &counter = *static_cast<MemoryCounter *>(self);
        void *pointer = std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
        if (pointer != nullptr) {
            const std::lock_guard lock(counter.mutex_);
            counter.sizes_[pointer] = size;
            counter.used_ += size;
            counter.most_ = std::max(counter.most_, counter.used_);
        }
        return pointer;
    }
    static void deallocate(void *self, void *pointer) {
        auto &counter = *static_cast<MemoryCounter *>(self);
        {
            const std::lock_guard lock(counter.mutex_);
            const auto found = counter.sizes_.find(pointer);
            counter.used_ -= found->second;
            counter.sizes_.erase(found);
        }
        std::free(pointer);
    }
    std::mutex mutex_;
    std::map<void *, size_t> sizes_;
    size_t used_ = 0, most_ = 0;
};

struct Counted {
    int tasks;
    size_t memory;
};

Counted count(int threads, const Call &call) {
    Counted counted{};
    {
        muattn::set_num_threads(2);  // with one, no parallel-for is asked
        const TaskCounter tasks;
        call();
        counted.tasks = tasks.most();
    }
    muattn::set_num_threads(threads);
    const MemoryCounter memory;
    call();
    counted.memory = memory.most();
    return counted;
}

// The counters that stand for the time at the roofline: the larger of the times at both limits. What the caches can keep
// from call to call has no memory limit.
void count_roofline(benchmark::State &state, const Work &work, int threads) {
    const MachineLimits limits = machine_limits(threads);
    const double compute_seconds = work.flops / limits.gflops * 1e-9;
    const bool in_cache = work.bytes <= double(last_level_cache_bytes(threads));
    const double memory_seconds = in_cache ? 0 : work.bytes / limits.gbytes * 1e-9;
    state.counters["roofline"] =
        benchmark::Counter(std::max(compute_seconds, memory_seconds), benchmark::Counter::kIsIterationInvariantRate);
    state.counters["memory_bound"] = memory_seconds > compute_seconds;
    state.counters["peak GFLOP/s"] = limits.gflops;
    state.counters["copy GB/s"] = limits.gbytes;
}

}  // namespace

void measure(benchmark::State &state, const json &shape, int threads, const Work &work, const Call &call) {
    static std::map<std::pair<const json *, int>, Counted>
        counts;  // kept: the benchmark library comes here several times
    const auto key = std::pair(&shape, threads);
    const int threads_before = muattn_get_num_threads();
    try {
        count_roofline(state, work, threads);
        if (counts.count(key) == 0) {
            counts[key] = count(threads, call);
        }
        muattn::set_num_threads(threads);
        call();
        state.SetLabel(muattn_last_kernel());
        for ([[maybe_unused]] auto iteration : state) {
            call();
        }
    } catch (const std::exception &error) {
        state.SkipWithError(error.what());
    }
    muattn::set_num_threads(threads_before);
    const auto rate = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["GFLOP/s"] = benchmark::Counter(work.flops * 1e-9, rate);
    state.counters["GB/s"] = benchmark::Counter(work.bytes * 1e-9, rate);
    state.counters["tasks"] = counts[key].tasks;
    state.counters["memory MB"] = double(counts[key].memory) * 1e-6;
}
