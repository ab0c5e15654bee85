// Option values as they are typed, to those of muattn.h. option names the option in errors; all throw UsageError.
#pragma once

#include <muattn/muattn.h>

#include <string>
#include <vector>

namespace muattn::cli {

extern const std::vector<std::string> kSpatialScalings, kChannelScalings, kLayouts;

muattn_scaling scaling_value(const std::string &option, const std::string &text);
muattn_layout layout_value(const std::string &option, const std::string &text);

// "0.1" or "0.1,0.2"; empty text: none.
std::vector<float> float_list(const std::string &option, const std::string &text);
std::vector<int64_t> integer_list(const std::string &option, const std::string &text);

// "none", "top_left", "bottom_right" or integers, one or one for each batch entry, which go to offsets: options point into it.
void set_causal(muattn_spatial_options &options, std::vector<int64_t> &offsets, const std::string &option,
                const std::string &text);
// "L,R", an empty side is open; empty text: no window.
void set_window(muattn_spatial_options &options, const std::string &option, const std::string &text);

// A check of options: what is wrong with text that is no number above 0.
std::string above_0(const std::string &text);

}  // namespace muattn::cli
