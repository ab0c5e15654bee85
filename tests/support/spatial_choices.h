// Calls of spatial attention with every feature, by choices: for tests of pairs and of random combinations.
#pragma once

#include <vector>

#include "support/cases.h"

namespace muattn::test {

// How many choices each feature has.
extern const std::vector<int> kSpatialChoices;

// B = 2; choices: one of each feature.
SpatialCase spatial_case_of(const std::vector<int> &choices, int64_t n_q, int64_t n_k);

}  // namespace muattn::test
