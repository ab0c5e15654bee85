// How tokens are shared out where there are more threads than heads.
#pragma once
#include <algorithm>
#include <cstdint>

namespace muattn::schedule {

// Spans of n tokens: as many as give every thread of a common machine work, but no more partial maps, of so many floats together, than
// fit in a few megabytes. A function of shapes alone, so that the result does not depend on the number of threads.
constexpr int64_t spans_of_tokens(int64_t tasks, int64_t floats, int64_t n) {
    constexpr int64_t kLeastSpan = 1024;  // tokens; fewer are not worth a partial map
    const int64_t wanted = std::max<int64_t>(1, 32 / tasks), affordable = std::max<int64_t>(1, (1 << 20) / floats);
    return std::min({wanted, affordable, std::max<int64_t>(1, n / kLeastSpan)});
}

}  // namespace muattn::schedule
