#include "values.h"

#include <fmt/ranges.h>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>

#include "usage_error.h"

namespace muattn::cli {
namespace {

template<typename Number>
Number number(const std::string &option, const std::string &text, const char *kind) {
    Number value{};
    const char *end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc::result_out_of_range) {
        fail("{}: {} is out of range", option, text);
    }
    if (error != std::errc() || stop != end) {
        fail("{}: '{}' is not {}", option, text, kind);
    }
    return value;
}

// "a,,b" has three parts, "" has one.
std::vector<std::string> split(const std::string &text) {
    std::vector<std::string> parts(1);
    for (const char c : text) {
        if (c == ',') {
            parts.emplace_back();
        } else {
            parts.back() += c;
        }
    }
    return parts;
}

template<typename Number>
std::vector<Number> list(const std::string &option, const std::string &text, const char *kind) {
    std::vector<Number> numbers;
    if (!text.empty()) {
        for (const std::string &part : split(text)) {
            numbers.push_back(number<Number>(option, part, kind));
        }
    }
    return numbers;
}

// The index of the name; the enumerators of muattn.h have the same order.
int choice(const std::string &option, const std::string &text, const std::vector<std::string> &names) {
    const auto found = std::find(names.begin(), names.end(), text);
    if (found == names.end()) {
        fail("{}: '{}' is not one of {}", option, text, fmt::join(names, ", "));
    }
    return int(found - names.begin());
}

}  // namespace

const std::vector<std::string> kSpatialScalings = {"sp", "mup", "mup_heads", "umup"};
const std::vector<std::string> kChannelScalings = {"sp", "mup", "mup_heads", "mup_mean"};
const std::vector<std::string> kLayouts = {"channels_last", "channels_first"};

muattn_scaling scaling_value(const std::string &option, const std::string &text) {
    static const std::vector<std::string> kAll = {"sp", "mup", "mup_heads", "mup_mean", "umup"};
    return muattn_scaling(choice(option, text, kAll));
}

muattn_layout layout_value(const std::string &option, const std::string &text) {
    return muattn_layout(choice(option, text, kLayouts));
}

std::vector<float> float_list(const std::string &option, const std::string &text) {
    return list<float>(option, text, "a number");
}

std::vector<int64_t> integer_list(const std::string &option, const std::string &text) {
    return list<int64_t>(option, text, "an integer");
}

void set_causal(muattn_spatial_options &options, std::vector<int64_t> &offsets, const std::string &option,
                const std::string &text) {
    if (text == "none") {
        options.causal = MUATTN_CAUSAL_NONE;
    } else if (text == "top_left") {
        options.causal = MUATTN_CAUSAL_TOP_LEFT;
    } else if (text == "bottom_right") {
        options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    } else {
        options.causal = MUATTN_CAUSAL_OFFSET;
        offsets = list<int64_t>(option, text, "none, top_left, bottom_right or integers");
        if (offsets.size() == 1) {
            options.causal_offset = offsets[0];
        } else {
            options.causal_offsets = offsets.data();
        }
    }
}

void set_window(muattn_spatial_options &options, const std::string &option, const std::string &text) {
    if (text.empty()) {
        return;
    }
    const auto sides = split(text);
    if (sides.size() != 2) {
        fail("{}: '{}' is not L,R", option, text);
    }
    int64_t ends[2];
    for (size_t i = 0; i < 2; i++) {
        ends[i] = sides[i].empty() ? -1 : number<int64_t>(option, sides[i], "an integer");
        if (!sides[i].empty() && ends[i] < 0) {
            fail("{}: a side is at least 0, or empty for open, not {}", option, ends[i]);
        }
    }
    options.window = {1, ends[0], ends[1]};
}

std::string above_0(const std::string &text) {
    double x = 0;
    return CLI::detail::lexical_cast(text, x) && x > 0 ? "" : fmt::format("must be a number above 0, not {}", text);
}

}  // namespace muattn::cli
