// The softmax of a list of logits.
#pragma once

#include <cmath>
#include <limits>
#include <vector>

namespace muattn::reference {

struct Softmax {
    std::vector<double> weights;  // exp(logit - top): not divided by their sum yet
    double top = -std::numeric_limits<double>::infinity();
    double sum = 0;  // of the weights

    explicit Softmax(const std::vector<double> &logits) {
        for (const double logit : logits) {
            top = logit > top ? logit : top;
        }
        for (const double logit : logits) {
            weights.push_back(std::exp(logit - top));
            sum += weights.back();
        }
    }

    // Of a sum with these weights. Without logits: 0.
    double normalized(double weighted_sum) const { return sum == 0 ? 0 : weighted_sum / sum; }
    // log(sum of exp(logit)). Without logits: -inf.
    double log_sum() const { return sum == 0 ? -std::numeric_limits<double>::infinity() : top + std::log(sum); }
};

}  // namespace muattn::reference
