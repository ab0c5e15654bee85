// Times both operators on the shapes of shapes.json, with one thread, two and all. docs/benchmarks.md says what the counters
// mean.
#include <benchmark/benchmark.h>
#include <muattn/muattn.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "machine_limits.h"

namespace {

using nlohmann::json;
using Floats = std::vector<float>;

Floats random_floats(int64_t count) {
    static std::minstd_rand engine(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Floats x(static_cast<size_t>(count));
    std::generate(x.begin(), x.end(), [&] { return uniform(engine); });
    return x;
}

// "additive": a bias per head that hides nothing, as Swin's. "bool": the keys of each batch entry, the last fifth hidden, as
// padding is. Shapes [1, H, n_q, n_k] and [B, 1, 1, n_k].
struct Mask {
    Floats bias;
    std::vector<uint8_t> allowed;
    muattn_tensor tensor{};

    Mask(const std::string &kind, int64_t B, int64_t H, int64_t n_q, int64_t n_k) {
        if (kind == "additive") {
            bias = random_floats(H * n_q * n_k);
            tensor = muattn::tensor(bias.data(), {1, H, n_q, n_k});
        } else if (kind == "bool") {
            for (int64_t x = 0; x < B * n_k; x++) {
                allowed.push_back(x % n_k < n_k - n_k / 5);
            }
            tensor = muattn::tensor(nullptr, {B, 1, 1, n_k});
            tensor.data = allowed.data();
            tensor.dtype = MUATTN_BOOL;
        }
    }
    const muattn_tensor *get() const { return tensor.data != nullptr ? &tensor : nullptr; }
    double bytes() const { return double(bias.size() * sizeof(float) + allowed.size()); }
};

// What a call has to do, however it is done.
struct Work {
    double flops;  // of the two matrix products, over the keys that causal and window leave; nothing for softmax
    double bytes;  // every element of Q, K, V, mask and out once
};

double float_bytes(std::initializer_list<const Floats *> tensors) {
    double bytes = 0;
    for (const Floats *x : tensors) {
        bytes += double(x->size() * sizeof(float));
    }
    return bytes;
}

// While it lives, calls run their tasks in turn, and it sees how many tasks their largest parallel step has: B * H * tiles,
// counted rather than derived from the schedule.
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

template<typename Call>
int count_tasks(const Call &call) {
    muattn::set_num_threads(2);  // with one, no parallel-for is asked
    const TaskCounter counter;
    call();
    return counter.most();
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

// Runs call() until the benchmark library has seen enough, and reports the kernel and the counters.
template<typename Call>
void measure(benchmark::State &state, const json &shape, int threads, const Work &work, const Call &call) {
    static std::map<const json *, int> tasks;  // kept: the benchmark library comes here several times
    const int threads_before = muattn_get_num_threads();
    try {
        count_roofline(state, work, threads);
        if (tasks.count(&shape) == 0) {
            tasks[&shape] = count_tasks(call);
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
    state.counters["tasks"] = tasks[&shape];
}

void bench_spatial(benchmark::State &state, const json &shape, int threads) {
    const int64_t B = shape["B"], H = shape["H"], Hk = shape.value("Hk", H);
    const int64_t n_q = shape["nq"], n_k = shape.value("nk", n_q), d = shape["d"], d_v = shape.value("dv", d);
    const int64_t window = shape.value("window", n_k);

    muattn::SpatialOptions options{};
    if (shape.value("causal", false)) {
        options.causal = MUATTN_CAUSAL_TOP_LEFT;
    }
    options.window = {shape.contains("window"), window, 0};
    const Mask mask(shape.value("mask", ""), B, H, n_q, n_k);
    options.mask = mask.get();
    double pairs = 0;  // of a query and a key that it sees
    for (int64_t i = 0; i < n_q; i++) {
        const int64_t first = std::max<int64_t>(0, i - window), last = std::min(n_k, i + 1);
        pairs += double(options.causal == MUATTN_CAUSAL_NONE ? n_k : last - first);
    }

    const Floats q = random_floats(B * H * n_q * d);
    const Floats k = random_floats(B * Hk * n_k * d), v = random_floats(B * Hk * n_k * d_v);
    Floats out(static_cast<size_t>(B * H * n_q * d_v));
    const Work work{2.0 * double(B * H * (d + d_v)) * pairs, float_bytes({&q, &k, &v, &out}) + mask.bytes()};
    measure(state, shape, threads, work, [&] {
        muattn::spatial_attention(muattn::tensor(q.data(), {B, H, n_q, d}), muattn::tensor(k.data(), {B, Hk, n_k, d}),
                                  muattn::tensor(v.data(), {B, Hk, n_k, d_v}),
                                  muattn::tensor(out.data(), {B, H, n_q, d_v}), options);
    });
}

void bench_channel(benchmark::State &state, const json &shape, int threads) {
    const int64_t B = shape["B"], H = shape["H"], n = shape["n"], d = shape["d"];
    const Floats q = random_floats(B * H * n * d), k = random_floats(B * H * n * d), v = random_floats(B * H * n * d);
    Floats out(q.size());
    const bool first = shape.value("layout", "") == "channels_first";
    auto tensor = [&](const Floats &x) {
        return muattn::tensor(x.data(), first ? muattn::Shape{B, H, d, n} : muattn::Shape{B, H, n, d});
    };
    muattn::ChannelOptions options{};
    options.layout = first ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
    options.normalize = shape.value("normalize", false);
    const float temperature = 8;
    options.scale = options.normalize ? &temperature : nullptr;
    options.scale_count = 1;
    const Work work{4.0 * double(B * H * n * d * d), float_bytes({&q, &k, &v, &out})};
    measure(state, shape, threads, work,
            [&] { muattn::channel_attention(tensor(q), tensor(k), tensor(v), tensor(out), options); });
}

void bench_shape(benchmark::State &state, const std::string &operation, const json &shape, int threads) {
    (operation == "spatial" ? bench_spatial : bench_channel)(state, shape, threads);
}

std::set<int> thread_counts() {
    const int all = muattn_get_num_threads();
    return {1, std::min(2, all), all};
}

// shape stays where it is until all benchmarks have run.
void register_shape(const std::string &operation, const json &shape, benchmark::TimeUnit unit) {
    for (int threads : thread_counts()) {
        const std::string name = operation + "/" + shape["name"].get<std::string>() + "/" + std::to_string(threads);
        auto run = [operation, &shape, threads](benchmark::State &state) {
            bench_shape(state, operation, shape, threads);
        };
        benchmark::RegisterBenchmark((name + "_threads").c_str(), run)->UseRealTime()->Unit(unit);
    }
}

// What every counter "roofline" is a share of, as it is at the start.
void add_context() {
    benchmark::AddCustomContext("muattn", muattn_version());
    benchmark::AddCustomContext("backend", muattn_current_backend());
    for (int threads : thread_counts()) {
        const MachineLimits limits = machine_limits(threads);
        const std::string suffix = ", " + std::to_string(threads) + " threads";
        benchmark::AddCustomContext("peak GFLOP/s" + suffix, std::to_string(limits.gflops));
        benchmark::AddCustomContext("copy GB/s" + suffix, std::to_string(limits.gbytes));
    }
}

}  // namespace

int main(int argc, char **argv) {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 2;
    }
    const json shapes = json::parse(std::ifstream(MUATTN_SHAPES));
    for (const char *operation : {"spatial", "channel"}) {
        for (const json &shape : shapes[operation]) {
            register_shape(operation, shape, benchmark::kMillisecond);
        }
    }
    for (const json &shape : shapes["small"]) {
        register_shape(shape["operation"], shape, benchmark::kMicrosecond);
    }
    try {
        add_context();
    } catch (const std::exception &error) {
        fprintf(stderr, "muattn_bench: %s\n", error.what());
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
}
