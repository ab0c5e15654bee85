// How large the numbers are that make up a result: an error model derives from it how far a result in float may be off.
#pragma once

#include <algorithm>
#include <cmath>

namespace muattn::reference {

// To the larger of 'size' and |x|. Only finite numbers count: an infinite one must not allow any error elsewhere.
inline void grow(double &size, double x) {
    if (std::isfinite(x)) {
        size = std::max(size, std::fabs(x));
    }
}

// A sum of products, and the sum of their magnitudes.
struct Dot {
    double value = 0, size = 0;

    void add(double product) {
        value += product;
        size += std::fabs(product);
    }
};

}  // namespace muattn::reference
