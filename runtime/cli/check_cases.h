// The cases of `muattn check`.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace muattn::cli {

struct CheckCase {
    std::string name;
    // Runs the case on the current backend; the largest |result - reference| / (1 + |reference|). Throws muattn::Error.
    std::function<double()> error;
    bool on_gpus = false;  // one of the few cases for them
};

std::vector<CheckCase> check_cases();

}  // namespace muattn::cli
