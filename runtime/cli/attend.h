// What `attend spatial` and `attend channel` share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "machine_options.h"
#include "npy.h"
#include "usage_error.h"
#include "values.h"

namespace muattn::cli {

// What both operators take.
struct AttendCall {
    std::string q, k, v, out, stats, scaling = "sp", scale, dtype;
    int64_t d_base = 0;
    double alpha = 0;  // not given
    std::optional<float> output_multiplier;
    bool backward = false;
    std::string d_out, d_q, d_k, d_v, d_scale, d_output_multiplier;
    MachineOptions machine;
};

// Of a file of --dtype's elements.
inline Array load(const AttendCall &call, const std::string &option, const std::string &path,
                  Holds holds = Holds::Matrices) {
    return load_npy(option, path, holds, call.dtype == "bfloat16");
}

void add_inputs(CLI::App &verb, AttendCall &call, const char *q, const char *k, const char *v);
void add_scaling(CLI::App &verb, AttendCall &call, const std::vector<std::string> &rules, const char *about_d_base);
// --stats.
void add_stats(CLI::App &verb, AttendCall &call);
// --backward and the files of gradients. d_out: what is in that file.
void add_gradients(CLI::App &verb, AttendCall &call, const char *about_backward, const char *d_out);
// One of an operator's own: refused without --backward.
void add_gradient(CLI::App &verb, const std::string &option, std::string &path, const char *what);
// A value that is not there, as of an unset variable, is no value.
void refuse_empty(CLI::App &verb);

// Throws UsageError where --backward lacks an option.
void check_needed(const std::string &option, const std::string &path);

// What it writes for a call on q.
inline std::vector<size_t> stats_shape(const int64_t *q_shape) {
    return {size_t(q_shape[0]), size_t(q_shape[1]), 1, 4};
}

// What both operators take of options; numbers holds what options.scale points to.
template<typename Options>
void set_scaling(Options &options, std::vector<float> &numbers, const AttendCall &call, int64_t heads) {
    options.scaling = scaling_value("--scaling", call.scaling);
    options.d_base = call.d_base;
    options.alpha = call.alpha;
    options.output_multiplier = call.output_multiplier ? &*call.output_multiplier : nullptr;
    numbers = float_list("--scale", call.scale);
    if (numbers.size() > 1 && int64_t(numbers.size()) != heads) {
        fail("--scale: needs 1 number, or one for each of H = {} heads, not {}", heads, numbers.size());
    }
    options.scale = numbers.empty() ? nullptr : numbers.data();
    options.scale_count = int64_t(numbers.size());
}

void add_attend_spatial(CLI::App &attend);
void add_attend_channel(CLI::App &attend);

}  // namespace muattn::cli
