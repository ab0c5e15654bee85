// Pipelines that may crash, run in a process of their own. The parent never touches a driver, so that every child starts afresh.
#pragma once

#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace muattn::test {

struct Outcome {
    std::vector<float> values;
    std::string failure;  // Halide's message, or the signal that ended the process; empty: there are values

    bool operator==(const Outcome &other) const { return values == other.values && failure == other.failure; }
    bool operator!=(const Outcome &other) const { return !(*this == other); }
};
std::ostream &operator<<(std::ostream &out, const Outcome &outcome);

Outcome in_child(const std::function<std::vector<float>()> &run);

}  // namespace muattn::test
