// The parts of channel attention's map over channels, as muattn.h defines them: its rows, the scaling rules.
#pragma once

#include <cstdint>
#include <vector>

#include "muattn/muattn.h"
#include "reference/sizes.h"

namespace muattn::reference {

// A head of q, k or v as numbers [n, d], whatever the layout.
struct ChannelMatrix {
    ChannelMatrix(const muattn_tensor &tensor, muattn_layout layout, int64_t b, int64_t h);

    int64_t n, d;
    std::vector<double> numbers;

    double at(int64_t token, int64_t channel) const { return numbers[size_t(token * d + channel)]; }
    // max(|channel| over tokens, 1e-12), as torch.nn.functional.normalize divides by.
    std::vector<double> lengths() const;
};

// The logit scale s of head h: given, or by the rule over n tokens, or over those of the options.
double channel_scale(const muattn_channel_options &options, int64_t n, int64_t h);

// The output multiplier o: given, or by the rule.
double channel_multiplier(const muattn_channel_options &options, int64_t d);

// Row i of the map before scale: Q^T K.
std::vector<Dot> map_row(const ChannelMatrix &q, const ChannelMatrix &k, int64_t i);

// The same of normalized channels.
void normalize(std::vector<Dot> &row, double q_length, const std::vector<double> &k_lengths);

}  // namespace muattn::reference
