// How far the gradients of channel attention may be from the reference.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

#include "reference/channel_map.h"
#include "support/channel_gradients.h"
#include "support/compare.h"

namespace muattn::test {

// Of one head: maps, and how far results may be off.
struct ChannelGradientBounds {
    reference::ChannelMatrix x, y, v, d_out;
    std::vector<double> q_lengths, k_lengths;
    std::vector<double> q_squares, k_squares;
    std::vector<std::vector<reference::Dot>> map, d_map;  // by rows; map before norms
    std::vector<std::vector<double>> A, Z;                // Z times 2 (w_i + u)
    std::vector<std::vector<double>> S_size;              // of normalised channels
    std::vector<double> weight;                           // w_i
    double scale, multiplier;

    ChannelGradientBounds(const ChannelGradientCase &c, const ChannelGradientTensors &t, int64_t b, int64_t h);

    static constexpr double kUnit = 0x1p-23, kSmallest = std::numeric_limits<float>::denorm_min();

    int64_t d() const { return x.d; }
    Expected at(double value, double allowed) const { return {value, allowed + double(d() + x.n) * kSmallest}; }
    double of_sum(double size) const { return kUnit * (1 + std::sqrt(double(x.n)) / 2) * size; }  // over tokens
    double of_q(int64_t token, int64_t i) const;
    double of_k(int64_t token, int64_t j) const;
    double of_v(int64_t token, int64_t j) const;
    double of_scale() const;
    double of_multiplier() const;

private:
    void divide(reference::ChannelMatrix &matrix, const std::vector<double> &lengths) const;
};

std::vector<ChannelGradientBounds> bounds_of(const ChannelGradientCase &c, const ChannelGradientTensors &t);

}  // namespace muattn::test
