// The cases of `muattn check`.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace muattn::cli {

struct CheckCase {
    std::string name;
    // Runs the case on the current backend; the largest |result - reference| / (1 + |reference|). Throws muattn::Error.
    std::function<double()> error;
    bool on_gpus = false;  // one of the few cases for them
};

template<typename Problem>
CheckCase make_case(std::string name, const std::shared_ptr<Problem> &problem, bool on_gpus = false) {
    return {std::move(name), [problem] { return problem->error(); }, on_gpus};
}

std::vector<CheckCase> check_cases();
// Two of them.
CheckCase spatial_gradients();
CheckCase channel_gradients();

}  // namespace muattn::cli
