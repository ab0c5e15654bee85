// Logit statistics of a head, summed over rows: kernels give a row's, in the form of generators/common/row_stats.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/error.h"
#include "common/tensor.h"

namespace muattn {

// The numbers of a row, and of a head.
constexpr int kRowStats = 5, kHeadStats = 4;

struct LogitSums {
    double magnitudes = 0, squares = 0, entropies = 0, logits = 0, rows = 0;
    double greatest = -std::numeric_limits<double>::infinity();

    // rows[s][i]: sum |logit|, sum logit^2, maximum, entropy and number of the logits of row i.
    void add_rows(const float *const (&of_rows)[kRowStats], int64_t count) {
        for (int64_t i = 0; i < count; i++) {
            if (of_rows[4][i] == 0) {
                continue;
            }
            magnitudes += double(of_rows[0][i]);
            squares += double(of_rows[1][i]);
            greatest = std::max(greatest, double(of_rows[2][i]));
            entropies += double(of_rows[3][i]);
            logits += double(of_rows[4][i]);
            rows++;
        }
    }
    void add(const LogitSums &other) {
        magnitudes += other.magnitudes, squares += other.squares, entropies += other.entropies;
        logits += other.logits, rows += other.rows;
        greatest = std::max(greatest, other.greatest);
    }
    void write(float *stats) const {
        // A NaN may have been lost in a maximum.
        const bool nan = std::isnan(magnitudes);
        const double numbers[kHeadStats] = {rows > 0 ? magnitudes / logits : 0,
                                            rows > 0 ? std::sqrt(squares / logits) : 0, nan ? magnitudes : greatest,
                                            rows > 0 ? nan ? magnitudes : entropies / rows : 0};
        std::transform(numbers, numbers + kHeadStats, stats, [](double x) { return float(x); });
    }
};

// stats of a call, of which others are the inputs; B and H: of the first of these.
inline muattn_status check_stats(Argument &stats, const muattn_tensor *tensor, const Argument *const *others,
                                 int count) {
    static constexpr const char *kDims[] = {"B", "H", "one", "numbers"};
    const Argument &first = *others[0];
    MUATTN_RETURN_IF_ERROR(check_tensor(stats, tensor));
    MUATTN_RETURN_IF_ERROR(check_device(stats, first));
    for (int dim = 0; dim < 2; dim++) {
        MUATTN_RETURN_IF_ERROR(check_size(stats, dim, kDims[dim], first.size(dim), "must equal q's"));
    }
    MUATTN_RETURN_IF_ERROR(check_size(stats, 2, kDims[2], 1, "must be"));
    MUATTN_RETURN_IF_ERROR(check_size(stats, 3, kDims[3], kHeadStats, "must be"));
    return check_output(stats, others, count);
}

}  // namespace muattn
