// muattn check: are the kernels right on this machine?
#include <fmt/ranges.h>

#include <map>
#include <memory>
#include <muattn/muattn.hpp>

#include "check_cases.h"
#include "verbs.h"

namespace muattn::cli {
namespace {

enum class Cell { right, wrong, no_kernel };

// One cell of the table.
Cell run_cell(const CheckCase &check_case, const std::string &backend, double tolerance) {
    try {
        force_backend(backend);
        const double error = check_case.error();
        const bool good = error <= tolerance;
        fmt::print(" {:>12}", fmt::format(good ? "{:.1e}" : "FAIL {:.1e}", error));
        return good ? Cell::right : Cell::wrong;
    } catch (const Error &error) {
        if (error.status() == MUATTN_UNSUPPORTED) {  // a smaller build, or a GPU and this d
            fmt::print(" {:>12}", "-");
            return Cell::no_kernel;
        }
        fmt::print(" {:>12}", "FAIL");
        fmt::print(stderr, "muattn: {}: {}: {}\n", check_case.name, backend, error.what());
        return Cell::wrong;
    }
}

bool is_gpu(const std::string &backend) { return backend.rfind("cpu:", 0) != 0; }

struct Choice {
    std::vector<std::string> checked, left_out, not_for_here;
};

Choice choose(bool with_gpus) {
    Choice choice;
    for (const Backend &backend : backends()) {
        auto &list = !backend.available                   ? choice.not_for_here
                     : is_gpu(backend.name) && !with_gpus ? choice.left_out
                                                          : choice.checked;
        list.push_back(backend.name);
    }
    return choice;
}

void print_others(const Choice &choice) {
    if (!choice.left_out.empty()) {
        fmt::print("{}: not checked; `muattn check --gpu` does\n", fmt::join(choice.left_out, ", "));
    }
    for (const std::string &backend : choice.not_for_here) {
        fmt::print("{}: not for this machine\n", backend);
    }
}

void check_all(double tolerance, bool with_gpus) {
    const Choice choice = choose(with_gpus);
    if (choice.checked.empty()) {
        print_others(choice);
        throw CheckFailed("check: this machine can run none of this build's backends");
    }
    fmt::print("{:<38}", "largest error against double");
    for (const std::string &backend : choice.checked) {
        fmt::print(" {:>12}", backend);
    }
    fmt::print("\n");
    muattn_set_scratch_poison(1);  // so that a read of memory that nobody wrote shows
    std::map<Cell, int> count;
    for (const CheckCase &check_case : check_cases()) {
        fmt::print("{:<38}", check_case.name);
        for (const std::string &backend : choice.checked) {
            if (is_gpu(backend) && !check_case.on_gpus) {
                fmt::print(" {:>12}", "");
            } else {
                count[run_cell(check_case, backend, tolerance)]++;
            }
        }
        fmt::print("\n");
    }
    print_others(choice);
    const int results = count[Cell::right] + count[Cell::wrong];
    if (results == 0) {
        throw CheckFailed("check: this build has no kernel for any of the cases");
    }
    if (count[Cell::wrong] != 0) {
        throw CheckFailed(
            fmt::format("check: {} of {} results are wrong by more than {}", count[Cell::wrong], results, tolerance));
    }
    const std::string left_out =
        count[Cell::no_kernel] != 0 ? fmt::format("; for {} this build has no kernel", count[Cell::no_kernel]) : "";
    fmt::print("all {} results are right within {}{}\n", results, tolerance, left_out);
}

}  // namespace

void add_check(CLI::App &app) {
    auto &verb = *app.add_subcommand("check", "self-test: the processor's backends against double precision");
    const auto tolerance = std::make_shared<double>(1e-5);
    const auto with_gpus = std::make_shared<bool>(false);
    verb.add_option("--tolerance", *tolerance,
                    "largest |result - reference| / (1 + |reference|) allowed; default: 1e-5");
    verb.add_flag(
        "--gpu", *with_gpus,
        "the GPU backends as well, in two cases each; compiles their kernels, some seconds on an emulated device");
    verb.footer("Exit code 1 if a result is wrong, or nothing could be checked.");
    verb.callback([tolerance, with_gpus] { check_all(*tolerance, *with_gpus); });
}

}  // namespace muattn::cli
