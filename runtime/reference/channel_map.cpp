#include "reference/channel_map.h"

#include <algorithm>
#include <cmath>

#include "reference/elements.h"

namespace muattn::reference {

ChannelMatrix::ChannelMatrix(const muattn_tensor &tensor, muattn_layout layout, int64_t b, int64_t h) {
    const bool first = layout == MUATTN_CHANNELS_FIRST;
    const Elements x(tensor);
    n = x.size(first ? 3 : 2);
    d = x.size(first ? 2 : 3);
    numbers.reserve(size_t(n * d));
    for (int64_t token = 0; token < n; token++) {
        for (int64_t channel = 0; channel < d; channel++) {
            numbers.push_back(first ? x.at(b, h, channel, token) : x.at(b, h, token, channel));
        }
    }
}

std::vector<double> ChannelMatrix::lengths() const {
    std::vector<double> squares(static_cast<size_t>(d));
    for (int64_t token = 0; token < n; token++) {
        for (int64_t channel = 0; channel < d; channel++) {
            squares[size_t(channel)] += at(token, channel) * at(token, channel);
        }
    }
    for (double &x : squares) {
        x = std::max(std::sqrt(x), 1e-12);
    }
    return squares;
}

double channel_scale(const muattn_channel_options &options, int64_t n, int64_t h) {
    const int64_t tokens = options.tokens != 0 ? options.tokens : std::max<int64_t>(n, 1);
    return options.scale != nullptr ? double(options.scale[options.scale_count == 1 ? 0 : h])
                                    : (options.alpha != 0 ? options.alpha : 1) / std::sqrt(double(tokens));
}

double channel_multiplier(const muattn_channel_options &options, int64_t d) {
    if (options.output_multiplier != nullptr) {
        return double(*options.output_multiplier);
    }
    return options.scaling == MUATTN_SCALING_MUP ? double(options.d_base) / double(d) : 1;
}

std::vector<Dot> map_row(const ChannelMatrix &q, const ChannelMatrix &k, int64_t i) {
    std::vector<Dot> row(static_cast<size_t>(k.d));
    for (int64_t token = 0; token < q.n; token++) {
        const double q_i = q.at(token, i);
        for (int64_t j = 0; j < k.d; j++) {
            row[size_t(j)].add(q_i * k.at(token, j));
        }
    }
    return row;
}

void normalize(std::vector<Dot> &row, double q_length, const std::vector<double> &k_lengths) {
    for (size_t j = 0; j < row.size(); j++) {
        row[j].value /= q_length * k_lengths[j];
        row[j].size /= q_length * k_lengths[j];
    }
}

}  // namespace muattn::reference
