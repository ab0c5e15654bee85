#include "reference/channel_backward.h"

#include "reference/channel_map.h"
#include "reference/softmax.h"

namespace muattn::reference {
namespace {

// Q or K as the products take it: channels of length 1 where they are normalised.
struct Factor {
    ChannelMatrix x;
    std::vector<double> lengths;  // what each channel was divided by
    bool normalized;

    Factor(ChannelMatrix matrix, bool normalize) : x(std::move(matrix)), lengths(x.lengths()), normalized(normalize) {
        for (int64_t u = 0; normalize && u < x.n; u++) {
            for (int64_t i = 0; i < x.d; i++) {
                x.numbers[size_t(u * x.d + i)] /= lengths[size_t(i)];
            }
        }
    }

    // From the gradient by x to that by the matrix.
    void through_lengths(std::vector<double> &gradient) const {
        constexpr double kEps = 1e-12;
        for (int64_t i = 0; normalized && i < x.d; i++) {
            double along = 0;
            for (int64_t u = 0; u < x.n; u++) {
                along += x.at(u, i) * gradient[size_t(u * x.d + i)];
            }
            const double length = lengths[size_t(i)];
            for (int64_t u = 0; u < x.n; u++) {
                double &g = gradient[size_t(u * x.d + i)];
                g = (g - (length > kEps ? x.at(u, i) * along : 0)) / length;
            }
        }
    }
};

// Adds what row i of the map gives.
void add_row(const Factor &q, const Factor &k, const ChannelMatrix &v, const ChannelMatrix &d_out, int64_t i,
             double scale, double multiplier, ChannelGradients &sums) {
    const std::vector<Dot> S = map_row(q.x, k.x, i);
    std::vector<double> logits, A, dA(size_t(v.d));
    for (const Dot &dot : S) {
        logits.push_back(scale * dot.value);
    }
    const Softmax softmax(logits);
    for (const double weight : softmax.weights) {
        A.push_back(softmax.normalized(weight));
    }
    double mean = 0;
    for (int64_t j = 0; j < v.d; j++) {
        double by_map = 0;
        for (int64_t t = 0; t < v.n; t++) {
            by_map += d_out.at(t, i) * v.at(t, j);
            sums.v[size_t(t * v.d + j)] += multiplier * d_out.at(t, i) * A[size_t(j)];
        }
        dA[size_t(j)] = multiplier * by_map;
        sums.output_multiplier += A[size_t(j)] * by_map;
        mean += A[size_t(j)] * dA[size_t(j)];
    }
    for (int64_t j = 0; j < v.d; j++) {
        const double dz = A[size_t(j)] * (dA[size_t(j)] - mean);
        sums.scale += dz * S[size_t(j)].value;
        for (int64_t u = 0; u < v.n; u++) {
            sums.q[size_t(u * v.d + i)] += scale * dz * k.x.at(u, j);
            sums.k[size_t(u * v.d + j)] += scale * dz * q.x.at(u, i);
        }
    }
}

}  // namespace

std::vector<ChannelGradients> channel_attention_backward(const muattn_tensor &q, const muattn_tensor &k,
                                                         const muattn_tensor &v, const muattn_channel_options &options,
                                                         const muattn_tensor &d_out) {
    std::vector<ChannelGradients> heads;
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            const auto matrix = [&](const muattn_tensor &x) { return ChannelMatrix(x, options.layout, b, h); };
            const Factor q_h(matrix(q), options.normalize != 0), k_h(matrix(k), options.normalize != 0);
            const ChannelMatrix v_h = matrix(v), d_out_h = matrix(d_out);
            ChannelGradients sums;
            for (std::vector<double> *gradient : {&sums.q, &sums.k, &sums.v}) {
                gradient->resize(v_h.numbers.size());
            }
            for (int64_t i = 0; i < v_h.d; i++) {
                add_row(q_h, k_h, v_h, d_out_h, i, channel_scale(options, v_h.n, h), channel_multiplier(options, v_h.d),
                        sums);
            }
            q_h.through_lengths(sums.q);
            k_h.through_lengths(sums.k);
            heads.push_back(std::move(sums));
        }
    }
    return heads;
}

}  // namespace muattn::reference
