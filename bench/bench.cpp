// Times both operations on the shapes of shapes.json, with one thread, two and all: the forward calls or, with --backward, the
// gradients. docs/benchmarks.md says what the counters mean.
#include <benchmark/benchmark.h>
#include <muattn/muattn.hpp>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "directions.h"
#include "machine_limits.h"

namespace {

using nlohmann::json;

std::set<int> thread_counts() {
    const int all = muattn_get_num_threads();
    return {1, std::min(2, all), all};
}

// How shapes of an operation are timed, and what the names of these benchmarks begin with.
struct Timed {
    std::string operation, prefix;
    void (*run)(benchmark::State &state, const json &shape, int threads);
    bool with_norms = true;  // shapes with normalize, too
};

const std::vector<Timed> forward = {{"spatial", "spatial", spatial_forward}, {"channel", "channel", channel_forward}};
const std::vector<Timed> backward = {
    {"spatial", "spatial/backward", spatial_backward},
    {"channel", "channel/backward", channel_backward},
    {"channel", "channel/backward_with_map", channel_backward_with_map, false},
};

// shape stays where it is until all benchmarks have run.
void register_shape(const Timed &timed, const json &shape, benchmark::TimeUnit unit) {
    if (shape.value("normalize", false) && !timed.with_norms) {
        return;
    }
    for (int threads : thread_counts()) {
        const std::string name = timed.prefix + "/" + shape["name"].get<std::string>() + "/" + std::to_string(threads);
        auto run = [run = timed.run, &shape, threads](benchmark::State &state) { run(state, shape, threads); };
        benchmark::RegisterBenchmark((name + "_threads").c_str(), run)->UseRealTime()->Unit(unit);
    }
}

// A list whose shapes name their operation.
void register_mixed(const std::vector<Timed> &direction, const json &shapes, benchmark::TimeUnit unit) {
    for (const json &shape : shapes) {
        for (const Timed &timed : direction) {
            if (shape["operation"] == timed.operation) {
                register_shape(timed, shape, unit);
            }
        }
    }
}

void register_all(const std::vector<Timed> &direction, const json &shapes) {
    for (const Timed &timed : direction) {
        for (const json &shape : shapes[timed.operation]) {
            register_shape(timed, shape, benchmark::kMillisecond);
        }
    }
    if (&direction == &backward) {
        register_mixed(direction, shapes["backward"], benchmark::kMillisecond);
    }
    register_mixed(direction, shapes["small"], benchmark::kMicrosecond);
}

// Takes the option away from the arguments, which the benchmark library reads next.
bool take_backward(int &argc, char **argv) {
    const auto is_option = [](const char *word) { return std::string_view(word) == "--backward"; };
    char **end = std::remove_if(argv + 1, argv + argc, is_option);
    const bool found = end != argv + argc;
    argc = static_cast<int>(end - argv);
    return found;
}

// What every counter "roofline" is a share of, as it is at the start.
void add_context(const char *direction) {
    benchmark::AddCustomContext("direction", direction);
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
    const auto &direction = take_backward(argc, argv) ? backward : forward;
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 2;
    }
    const json shapes = json::parse(std::ifstream(MUATTN_SHAPES));
    register_all(direction, shapes);
    try {
        add_context(&direction == &backward ? "backward" : "forward");
    } catch (const std::exception &error) {
        fprintf(stderr, "muattn_bench: %s\n", error.what());
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
}
