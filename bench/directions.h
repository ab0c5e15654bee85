// The benchmarks of a shape, by operation and direction.
#pragma once

#include <benchmark/benchmark.h>

#include <nlohmann/json.hpp>

void spatial_forward(benchmark::State &state, const nlohmann::json &shape, int threads);
void channel_forward(benchmark::State &state, const nlohmann::json &shape, int threads);

// Gradients of q, k and v. What the forward call gives is there before the time begins.
void spatial_backward(benchmark::State &state, const nlohmann::json &shape, int threads);
void channel_backward(benchmark::State &state, const nlohmann::json &shape, int threads);
// Takes the attention map that the forward call has kept, which saves a product. Not with normalize.
void channel_backward_with_map(benchmark::State &state, const nlohmann::json &shape, int threads);
