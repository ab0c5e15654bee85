// --threads and --backend, which several verbs have.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

namespace muattn::cli {

struct MachineOptions {
    std::optional<int> threads;
    std::string backend;

    void add_to(CLI::App &verb);
    // Throws muattn::Error.
    void apply() const;
};

}  // namespace muattn::cli
