#include "reference/logit_stats.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "reference/channel_map.h"
#include "reference/softmax.h"
#include "reference/spatial_row.h"

namespace muattn::reference {
namespace {

// Rows one after the other.
class Sums {
public:
    void add_logit(double logit, double size) {
        row_.push_back(logit);
        stats_.mean_abs += std::fabs(logit);
        stats_.rms += logit * logit;
        stats_.max = std::isnan(logit) || std::isnan(stats_.max) ? NAN : std::max(stats_.max, logit);
        grow(stats_.logit_size, size);
        grow(stats_.capped_size, logit);
        logits_++;
    }
    void end_row() {
        if (!row_.empty()) {
            stats_.entropy += entropy(row_);
            stats_.longest_row = std::max(stats_.longest_row, int64_t(row_.size()));
            rows_++;
        }
        row_.clear();
    }
    LogitStats result() const {
        LogitStats result = stats_;
        if (rows_ > 0) {
            result.mean_abs /= double(logits_);
            result.rms = std::sqrt(result.rms / double(logits_));
            result.entropy /= double(rows_);
        }
        return result;
    }

private:
    static double entropy(const std::vector<double> &logits) {
        const Softmax softmax(logits);
        double sum = 0;
        for (const double weight : softmax.weights) {
            const double p = weight / softmax.sum;
            sum -= p > 0 || std::isnan(p) ? p * std::log(p) : 0;
        }
        return sum;
    }

    LogitStats stats_{0, 0, -std::numeric_limits<double>::infinity(), 0};
    std::vector<double> row_;
    int64_t rows_ = 0, logits_ = 0;
};

}  // namespace

std::vector<LogitStats> spatial_logit_stats(const muattn_tensor &q, const muattn_tensor &k,
                                            const muattn_spatial_options &options) {
    const SpatialInputs in = spatial_inputs(q, k, k, options);
    std::vector<LogitStats> heads;
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            Sums sums;
            for (int64_t i = 0; i < in.n_q(); i++) {
                for (int64_t j = 0; j < in.n_k(); j++) {
                    const Query query{b, h, i};
                    if (sees(in, query, j) && mask_term(in, query, j) != -std::numeric_limits<double>::infinity()) {
                        const Dot dot = scaled_dot(in, query, j);
                        sums.add_logit(with_softcap(in, dot.value), dot.size);
                    }
                }
                sums.end_row();
            }
            heads.push_back(sums.result());
        }
    }
    return heads;
}

std::vector<LogitStats> channel_logit_stats(const muattn_tensor &q, const muattn_tensor &k,
                                            const muattn_channel_options &options) {
    std::vector<LogitStats> heads;
    for (int64_t b = 0; b < q.shape[0]; b++) {
        for (int64_t h = 0; h < q.shape[1]; h++) {
            const ChannelMatrix of_q(q, options.layout, b, h), of_k(k, options.layout, b, h);
            const std::vector<double> q_lengths = of_q.lengths(), k_lengths = of_k.lengths();
            const double scale = channel_scale(options, of_q.n, h);
            Sums sums;
            for (int64_t i = 0; i < of_q.d; i++) {
                std::vector<Dot> row = map_row(of_q, of_k, i);
                if (options.normalize != 0) {
                    normalize(row, q_lengths[size_t(i)], k_lengths);
                }
                for (const Dot &dot : row) {
                    sums.add_logit(scale * dot.value, std::fabs(scale) * dot.size);
                }
                sums.end_row();
            }
            heads.push_back(sums.result());
        }
    }
    return heads;
}

}  // namespace muattn::reference
