// The numbers of a schedule as parameters of its generator.
#pragma once
#include <array>
#include <utility>

#include "Halide.h"
#include "schedules/common/numbers.h"

namespace muattn {

// A member of the generator. 0 leaves the machine's default.
template<typename Schedule>
class NumberParams {
    static constexpr size_t kCount = Schedule::numbers().size();

public:
    schedule::NumberValues values() const {
        schedule::NumberValues result;
        for (size_t i = 0; i < kCount; i++) {
            result.values[i] = params[i];
        }
        return result;
    }

private:
    template<size_t... index>
    static std::array<Halide::GeneratorParam<int>, kCount> by_name(std::index_sequence<index...>) {
        return {{Halide::GeneratorParam<int>(Schedule::numbers()[index].name, 0)...}};
    }

    std::array<Halide::GeneratorParam<int>, kCount> params = by_name(std::make_index_sequence<kCount>());
};

}  // namespace muattn
