#include "support/compare.h"

#include <cmath>
#include <limits>
#include <sstream>
#include <string>

namespace muattn::test {
namespace {

constexpr double kUnit = 0x1p-23;

// Below this, float32 has no more digits: each term may lose one of these.
constexpr double kSmallest = std::numeric_limits<float>::denorm_min();

bool is_as_expected(float got, const Expected &expected) {
    if (std::isnan(expected.value)) {
        return std::isnan(got) && !is_untouched(got);
    }
    if (std::isinf(expected.value)) {
        return double(got) == expected.value;
    }
    return std::fabs(double(got) - expected.value) <= expected.allowed;
}

}  // namespace

double relative_weight_error(double logit_size, int64_t terms) {
    return kUnit * (2 + logit_size + std::sqrt(double(terms)) / 8);
}

double allowed_output_error(double logit_size, double value_size, int64_t terms) {
    return value_size * relative_weight_error(logit_size, terms) + double(terms) * kSmallest;
}

double allowed_lse_error(double logit_size, int64_t terms) {
    return 2 * relative_weight_error(logit_size, terms) + kUnit * std::log(double(terms) + 1);
}

testing::AssertionResult agrees(const Tensor &got,
                                const std::function<Expected(int64_t b, int64_t h, int64_t i, int64_t e)> &expected) {
    int64_t wrong = 0;
    std::string first;
    for (int64_t b = 0; b < got.size(0); b++) {
        for (int64_t h = 0; h < got.size(1); h++) {
            for (int64_t i = 0; i < got.size(2); i++) {
                for (int64_t e = 0; e < got.size(3); e++) {
                    const float x = got.at(b, h, i, e);
                    const Expected want = expected(b, h, i, e);
                    if (is_as_expected(x, want)) {
                        continue;
                    }
                    if (wrong++ == 0) {
                        std::ostringstream text;
                        text.precision(9);
                        text << "[" << b << "," << h << "," << i << "," << e << "] is " << x
                             << (is_untouched(x) ? " (never written)" : "") << ", expected " << want.value << " +- "
                             << want.allowed;
                        first = text.str();
                    }
                }
            }
        }
    }
    if (wrong == 0) {
        return testing::AssertionSuccess();
    }
    return testing::AssertionFailure() << wrong << " elements differ, the first: " << first;
}

}  // namespace muattn::test
