// NaN, infinity and large numbers, in gradients of spatial attention: they reach exactly the elements that depend on them.
#include <limits>

#include "support/backends.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

class SpatialBackwardLeak : public OnEveryBackend {
protected:
    // Calls that hide keys from queries, each in its own way.
    std::vector<SpatialBackwardCase> masked_cases() const {
        std::vector<SpatialBackwardCase> cases;
        const auto s = key_blocks_schedule(GetParam());
        for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{9, 9}, {s.block_queries + 5, s.block_keys() + 9}}) {
            SpatialBackwardCase c = backward_case(n_q, n_k, 6, 5);
            c.B = 2;
            c.causal = MUATTN_CAUSAL_TOP_LEFT;
            cases.push_back(c);
            c.causal = MUATTN_CAUSAL_OFFSET;
            c.causal_offset = -2;
            c.window = {1, 3, -1};
            cases.push_back(c);
            c.causal = MUATTN_CAUSAL_NONE;
            c.window = {};
            c.key_lengths = {n_k / 2, n_k - 1};
            cases.push_back(c);
            c.key_lengths.clear();
            c.softcap = 2;
            c.mask = SpatialCase::boolean;
            cases.push_back(c);
            c.mask = SpatialCase::additive;
            cases.push_back(c);
        }
        return cases;
    }
};
MUATTN_ON_EVERY_BACKEND(SpatialBackwardLeak);

// The reference multiplies nothing with what is hidden, so its NaNs are where they belong.
TEST_P(SpatialBackwardLeak, OneNan) {
    for (const SpatialBackwardCase &c : masked_cases()) {
        for (int where = 0; where < 6; where++) {
            SpatialGradientTensors t = make_gradient_tensors(c);
            const int64_t key = c.n_k - 1 - where % 3, query = where % 2 == 0 ? 0 : c.n_q / 2;
            SCOPED_TRACE(testing::Message() << "place " << where);
            switch (where) {
            case 0: t.inputs.k.at(1, 0, key, 2) = kNan; break;
            case 1: t.inputs.v.at(1, 0, key, 2) = kNan; break;
            case 2: t.inputs.q.at(1, 0, query, 2) = kNan; break;
            }
            write_forward_result(c, t);
            switch (where) {
            case 3: t.d_out.at(1, 0, query, 1) = kNan; break;
            case 4: t.d_lse.at(1, 0, query, 0) = kNan; break;
            case 5: t.inputs.out.at(1, 0, query, 1) = kNan; break;
            }
            expect_gradients_agree(c, t);
        }
    }
}

// What no query sees, and a query that sees nothing.
TEST_P(SpatialBackwardLeak, WhatIsHiddenFromAll) {
    SpatialBackwardCase c = backward_case(12, 20, 6, 5);
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = -2;
    for (const float bad : {kNan, kInfinity, -kInfinity}) {
        const SpatialGradientTensors t = make_gradient_tensors(c);
        for (int64_t e = 0; e < 5; e++) {
            t.inputs.k.at(0, 0, 15, e) = t.inputs.v.at(0, 0, 15, e) = bad;
            t.inputs.q.at(0, 0, 1, e) = t.d_out.at(0, 0, 1, e) = t.inputs.out.at(0, 0, 1, e) = bad;
        }
        t.d_lse.at(0, 0, 1, 0) = bad;
        expect_gradients_agree(c, t);
        EXPECT_EQ(t.d_q.at(0, 0, 1, 0), 0);
        EXPECT_EQ(t.d_k.at(0, 0, 15, 0), 0);
        EXPECT_EQ(t.d_v.at(0, 0, 15, 0), 0);
    }
}

// Finite, but too large to be multiplied by anything: 0 times a product that overflows is NaN.
TEST_P(SpatialBackwardLeak, LargeNumbersThatAreHidden) {
    for (const SpatialCase::Mask mask : {SpatialCase::no_mask, SpatialCase::boolean}) {
        SpatialBackwardCase c = backward_case(12, 20, 6, 5);
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        c.mask = mask;
        const SpatialGradientTensors t = make_gradient_tensors(c);
        for (int64_t e = 0; e < 5; e++) {
            t.inputs.k.at(0, 0, 15, e) = t.inputs.v.at(0, 0, 15, e) = 3e38f;
        }
        expect_gradients_agree(c, t);
    }
}

// A small mask that all batch entries share is looked through first. It hides the last key alone.
TEST_P(SpatialBackwardLeak, WhatASharedMaskHides) {
    for (const float hides : {-kInfinity, -8e37f}) {
        for (const bool wants_mask : {false, true}) {
            SpatialBackwardCase c = backward_case(12, 20, 16, 16);
            c.B = 8;
            c.mask = SpatialCase::additive;
            c.mask_full = {false, false, true, true};
            c.wants_mask = wants_mask;
            SpatialGradientTensors t = make_gradient_tensors(c);
            t.inputs.mask.fill_normal(4);
            for (int64_t i = 0; i < c.n_q; i++) {
                t.inputs.mask.at(0, 0, i, c.n_k - 1) = hides;
            }
            t.inputs.k.at(7, 0, c.n_k - 1, 3) = t.inputs.v.at(7, 0, c.n_k - 1, 3) = kNan;
            write_forward_result(c, t);
            expect_gradients_agree(c, t);
        }
    }
}

}  // namespace
}  // namespace muattn::test
