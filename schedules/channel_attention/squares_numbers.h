// The numbers of the schedule of sums of squares. No Halide here.
#pragma once
#include <array>

#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn::schedule {

struct ChannelSquares {
    int lanes;         // float32 lanes of a vector
    int chunk_tokens;  // whose sums are added up before they join the others

    static constexpr ChannelSquares defaults(Machine m) { return {m.lanes, 128}; }

    // What may be overridden.
    static constexpr std::array<Number<ChannelSquares>, 0> numbers() { return {}; }

    // Sums of a channel that do not wait for each other's additions; with channels first they are lanes.
    constexpr int sums(bool channels_first) const { return channels_first ? lanes : 4; }
};

}  // namespace muattn::schedule
