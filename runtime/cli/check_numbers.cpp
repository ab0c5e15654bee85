#include "check_numbers.h"

#include <cmath>
#include <limits>
#include <random>

#include "reference/spatial_forward.h"

namespace muattn::cli {

// Not a std:: distribution, which may differ.
Floats numbers(const Shape &shape, unsigned seed) {
    std::minstd_rand engine(seed);
    Floats x(size_t(shape[0] * shape[1] * shape[2] * shape[3]));
    for (float &value : x) {
        value = float(engine() % 65536) / 32768 - 1;
    }
    return x;
}

double largest_error(const Floats &got, const std::vector<double> &want) {
    double largest = 0;
    for (size_t i = 0; i < want.size(); i++) {
        if (double(got[i]) == want[i]) {  // infinities too
            continue;
        }
        const double error = std::fabs(double(got[i]) - want[i]) / (1 + std::fabs(want[i]));
        largest = std::isfinite(error) ? std::max(largest, error) : std::numeric_limits<double>::infinity();
    }
    return largest;
}

SpatialResult spatial_result(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                             const SpatialOptions &options) {
    SpatialResult result;
    for (const reference::SpatialRow &row : reference::spatial_attention_forward(q, k, v, options)) {
        result.out.insert(result.out.end(), row.out.begin(), row.out.end());
        result.lse.push_back(row.lse);
    }
    return result;
}

}  // namespace muattn::cli
