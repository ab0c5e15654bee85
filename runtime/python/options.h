// Options as muattn/_options.py hands them over, to those of muattn.h.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "muattn/muattn.h"

namespace muattn::python {

using Numbers = std::vector<double>;
using Integers = std::vector<int64_t>;

// scaling, d_base, scale, causal, causal_offset, causal_offsets, window, key_lengths, softcap, sink, alpha, power, output_multiplier
using SpatialSettings = std::tuple<int, int64_t, std::optional<Numbers>, int, int64_t, std::optional<Integers>,
                                   std::optional<std::pair<int64_t, int64_t>>, std::optional<Integers>, double,
                                   std::optional<Numbers>, double, double, std::optional<double>>;

// The options without the mask, and the numbers that they point to.
class SpatialOptions {
public:
    // settings must live as long. Raises ValueError where there are not as many numbers as batch entries or heads.
    SpatialOptions(const SpatialSettings &settings, int64_t batch, int64_t heads);
    SpatialOptions(const SpatialOptions &) = delete;
    SpatialOptions &operator=(const SpatialOptions &) = delete;

    muattn_spatial_options options{};

private:
    std::vector<float> scale_, sink_;
    float multiplier_ = 1.0f;
};

// scaling, d_base, scale, output_multiplier, normalize, layout, tokens, alpha
using ChannelSettings =
    std::tuple<int, int64_t, std::optional<Numbers>, std::optional<double>, bool, int, int64_t, double>;

class ChannelOptions {
public:
    // As SpatialOptions.
    ChannelOptions(const ChannelSettings &settings, int64_t heads);
    ChannelOptions(const ChannelOptions &) = delete;
    ChannelOptions &operator=(const ChannelOptions &) = delete;

    muattn_channel_options options{};

private:
    std::vector<float> scale_;
    float multiplier_ = 1.0f;
};

}  // namespace muattn::python
