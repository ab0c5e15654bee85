// Times a call, and counts what it does. docs/benchmarks.md says what the counters mean.
#pragma once

#include <benchmark/benchmark.h>

#include <functional>
#include <nlohmann/json.hpp>

// What a call has to do, however it is done.
struct Work {
    double flops;  // of the matrix products, over the keys that causal and window leave; nothing for softmax
    double bytes;  // every element of inputs and outputs once
};

// Runs call() until the benchmark library has seen enough, and reports the kernel and the counters. shape: one of the table,
// which stays where it is. A call that throws is an error of the benchmark.
void measure(benchmark::State &state, const nlohmann::json &shape, int threads, const Work &work,
             const std::function<void()> &call);
