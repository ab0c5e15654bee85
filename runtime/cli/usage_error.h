// What the user can mend: one line on stderr and exit code 2.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <utility>

namespace muattn::cli {

class UsageError : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

template<typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args &&...args) {
    throw UsageError(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace muattn::cli
