#include "reference/channel_forward.h"

#include "reference/channel_map.h"
#include "reference/softmax.h"

namespace muattn::reference {
namespace {

// The weights of a map's row, and the size of its logits.
Softmax softmax_of(const std::vector<Dot> &row, double scale, double &logit_size) {
    std::vector<double> logits;
    for (const Dot &dot : row) {
        logits.push_back(scale * dot.value);
        grow(logit_size, scale * dot.size);
    }
    return Softmax(logits);
}

// Channel i of the output.
void write_channel(const ChannelMatrix &v, int64_t i, const Softmax &softmax, double multiplier, ChannelHead &head) {
    for (int64_t t = 0; t < v.n; t++) {
        double sum = 0;
        for (int64_t j = 0; j < v.d; j++) {
            sum += softmax.weights[size_t(j)] * v.at(t, j);
        }
        head.out[size_t(t * v.d + i)] = softmax.normalized(multiplier * sum);
    }
}

std::vector<double> value_sizes(const ChannelMatrix &v, double multiplier) {
    std::vector<double> sizes(static_cast<size_t>(v.n));
    for (int64_t t = 0; t < v.n; t++) {
        for (int64_t j = 0; j < v.d; j++) {
            grow(sizes[size_t(t)], multiplier * v.at(t, j));
        }
    }
    return sizes;
}

ChannelHead head_of(const ChannelMatrix &q, const ChannelMatrix &k, const ChannelMatrix &v,
                    const muattn_channel_options &options, int64_t h) {
    const double scale = channel_scale(options, q.n, h), multiplier = channel_multiplier(options, q.d);
    const std::vector<double> q_lengths = q.lengths(), k_lengths = k.lengths();
    ChannelHead head;
    head.out.resize(size_t(q.n * q.d));
    head.logit_size.resize(size_t(q.d));
    head.value_size = value_sizes(v, multiplier);
    for (int64_t i = 0; i < q.d; i++) {
        std::vector<Dot> row = map_row(q, k, i);
        if (options.normalize) {
            normalize(row, q_lengths[size_t(i)], k_lengths);
        }
        write_channel(v, i, softmax_of(row, scale, head.logit_size[size_t(i)]), multiplier, head);
    }
    return head;
}

}  // namespace

std::vector<ChannelHead> channel_attention_forward(const muattn_tensor &q, const muattn_tensor &k,
                                                   const muattn_tensor &v, const muattn_channel_options &options) {
    std::vector<ChannelHead> heads;
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            const auto matrix = [&](const muattn_tensor &x) { return ChannelMatrix(x, options.layout, b, h); };
            heads.push_back(head_of(matrix(q), matrix(k), matrix(v), options, h));
        }
    }
    return heads;
}

}  // namespace muattn::reference
