// One function per verb: adds it to the program, with the callback that runs it.
#pragma once

#include <CLI/CLI.hpp>

namespace muattn::cli {

void add_attend(CLI::App &app);
void add_scale(CLI::App &app);
void add_info(CLI::App &app);
void add_check(CLI::App &app);

// What `check` throws when a result is wrong: exit code 1.
class CheckFailed : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

}  // namespace muattn::cli
