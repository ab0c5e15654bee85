// Spatial attention with few queries: the variant that splits the keys into spans.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class SpatialSplitKeys : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialSplitKeys);

TEST_P(SpatialSplitKeys, AroundGroupsAndSpans) {
    const auto s = split_keys_schedule(GetParam());
    for (const int64_t n_k : around({s.lanes, s.group_keys, s.span_keys, 3 * s.span_keys})) {
        for (const int64_t n_q : {1, 3}) {
            SpatialCase c;
            c.n_q = n_q, c.n_k = n_k, c.d = 9, c.d_v = 13;
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialSplitKeys, ColumnsAroundVectors) {
    const auto s = split_keys_schedule(GetParam());
    for (const int64_t d : around({s.lanes, 2 * s.lanes})) {
        for (const int64_t d_v : around({s.lanes, s.lanes * s.value_vectors, 2 * s.lanes * s.value_vectors})) {
            SpatialCase c;
            c.n_q = 1, c.n_k = s.span_keys + s.group_keys + 1, c.d = d, c.d_v = d_v;
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialSplitKeys, MasksAndSoftcap) {
    const auto s = split_keys_schedule(GetParam());
    for (const auto mask : {SpatialCase::no_mask, SpatialCase::additive, SpatialCase::boolean}) {
        for (const float softcap : {0.0f, 3.0f}) {
            for (const int64_t n_q : {int64_t(1), int64_t(s.block_rows + 1)}) {
                SpatialCase c;
                c.B = 2, c.Hk = 2, c.H = 4, c.n_q = n_q, c.n_k = s.span_keys + 3, c.d = 10, c.d_v = 6;
                c.mask = mask, c.softcap = softcap;
                expect_agrees(c);
                c.mask_full = {false, false, false, true};
                expect_agrees(c);
            }
        }
    }
}

TEST_P(SpatialSplitKeys, RowsAreQueriesOfEveryHeadOfAGroup) {
    for (const int64_t group : {1, 2, 4, 5}) {
        for (const int64_t n_q : up_to(6)) {
            SpatialCase c;
            c.B = 2, c.Hk = 2, c.H = 2 * group, c.n_q = n_q, c.n_k = 150, c.d = 16, c.d_v = 8;
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            for (int64_t h = 0; h < c.H; h++) {
                c.scale.push_back(0.1f * float(h + 1));
            }
            expect_agrees(c);
        }
    }
}

TEST_P(SpatialSplitKeys, LengthsWindowsAndEmptySpans) {
    const auto s = split_keys_schedule(GetParam());
    const int64_t span = s.span_keys;
    SpatialCase c;
    c.B = 4, c.H = 2, c.Hk = 1, c.n_q = 2, c.n_k = 2 * span + 5, c.d = 8, c.d_v = 8;
    c.key_lengths = {0, 1, span, 2 * span + 5};
    expect_agrees(c);
    c.window = {1, 7, 3};
    expect_agrees(c);
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = span + 3;
    expect_agrees(c);
}

// On processors: few rows, or a kernel of tiles that would leave most threads idle.
TEST_P(SpatialSplitKeys, IsChosenByTheRowsThatItComputes) {
    if (GetParam().rfind("cpu:", 0) != 0) {
        GTEST_SKIP() << "GPUs have a rule of their own";
    }
    const int64_t block = spatial_schedule(GetParam()).block_rows(), whole_blocks = (32 / block + 1) * block;
    const struct {
        int64_t B, H, Hk, n_q, n_k;
        bool split;
    } calls[] = {
        {1, 8, 8, 1, 600, true},              // decoding
        {1, 8, 2, 2, 600, true},              // of several queries and heads that share keys
        {2, 8, 8, whole_blocks, 600, false},  // nothing to gain
        {1, 1, 1, 32, 600, true},             // one task
        {2, 8, 8, 1, 100, true},              // few keys
        {2, 8, 8, 12, 100, false},
        {2, 8, 8, 1, 3, false},
    };
    for (const auto &call : calls) {
        SpatialCase c;
        c.B = call.B, c.H = call.H, c.Hk = call.Hk, c.n_q = call.n_q, c.n_k = call.n_k, c.d = 8, c.d_v = 8;
        expect_agrees(c);
        const bool split = std::string(muattn_last_kernel()).find("/split") != std::string::npos;
        EXPECT_EQ(split, call.split) << testing::PrintToString(c) << " " << muattn_last_kernel();
    }
}

// One call over all keys, and the merge of two calls over disjoint parts of them.
TEST_P(SpatialSplitKeys, MergeOfTwoKeySetsIsOneCall) {
    for (const int64_t n_q : {1, 50}) {
        SpatialCase c;
        c.B = 2, c.H = 2, c.Hk = 2, c.n_q = n_q, c.n_k = 90, c.d = 12, c.d_v = 10;
        const SpatialTensors t = make_tensors(c);
        expect_agrees(c, t);

        SpatialCase first = c, second = c;
        first.key_lengths = {40, 40};
        second.n_k = 50;
        SpatialTensors a = make_tensors(first), b = make_tensors(second);
        b.q = t.q;
        for (int64_t batch = 0; batch < c.B; batch++) {
            for (int64_t h = 0; h < c.Hk; h++) {
                for (int64_t j = 0; j < 50; j++) {
                    std::copy_n(t.k.row(batch, h, 40 + j), c.d, b.k.row(batch, h, j));
                    std::copy_n(t.v.row(batch, h, 40 + j), c.d_v, b.v.row(batch, h, j));
                }
            }
        }
        ASSERT_EQ(run(first, a), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(run(second, b), MUATTN_OK) << muattn_last_error();
        const SpatialTensors merged = make_tensors(c);
        const muattn_tensor out_a = a.out.view(), lse_a = a.lse.view(), out_b = b.out.view(), lse_b = b.lse.view();
        const muattn_tensor out = merged.out.view(), lse = merged.lse.view();
        ASSERT_EQ(muattn_merge(&out_a, &lse_a, &out_b, &lse_b, &out, &lse), MUATTN_OK) << muattn_last_error();
        const std::vector<float> got = merged.out.elements(), want = t.out.elements();
        const std::vector<float> got_lse = merged.lse.elements(), want_lse = t.lse.elements();
        for (size_t i = 0; i < got.size(); i++) {
            ASSERT_NEAR(got[i], want[i], 3e-6) << i;
        }
        for (size_t i = 0; i < got_lse.size(); i++) {
            ASSERT_NEAR(got_lse[i], want_lse[i], 3e-6) << i;
        }
    }
}

// What a side without keys holds does not matter, NaN included.
TEST_P(SpatialSplitKeys, MergeWithNothing) {
    const float nan = std::numeric_limits<float>::quiet_NaN(), infinity = std::numeric_limits<float>::infinity();
    const Tensor a({1, 1, 2, 3}, dense()), b({1, 1, 2, 3}, dense()), out({1, 1, 2, 3}, dense());
    const Tensor lse_a({1, 1, 2, 1}, dense()), lse_b({1, 1, 2, 1}, dense()), lse({1, 1, 2, 1}, dense());
    a.fill(nan);
    b.fill(5);
    lse_a.fill(-infinity);
    lse_b.at(0, 0, 0, 0) = 2;
    lse_b.at(0, 0, 1, 0) = -infinity;
    const muattn_tensor views[] = {a.view(), lse_a.view(), b.view(), lse_b.view(), out.view(), lse.view()};
    ASSERT_EQ(muattn_merge(&views[0], &views[1], &views[2], &views[3], &views[4], &views[5]), MUATTN_OK)
        << muattn_last_error();
    EXPECT_EQ(out.elements(), (std::vector<float>{5, 5, 5, 0, 0, 0}));
    EXPECT_EQ(lse.elements(), (std::vector<float>{2, -infinity}));
}

TEST_P(SpatialSplitKeys, MergeKeepsNan) {
    for (const bool in_a : {false, true}) {
        const Tensor a({1, 1, 1, 3}, dense()), b({1, 1, 1, 3}, dense()), out({1, 1, 1, 3}, dense());
        const Tensor lse_a({1, 1, 1, 1}, dense()), lse_b({1, 1, 1, 1}, dense()), lse({1, 1, 1, 1}, dense());
        for (const Tensor *input : {&a, &b, &lse_a, &lse_b}) {
            input->fill(1);
        }
        (in_a ? lse_a : lse_b).fill(std::numeric_limits<float>::quiet_NaN());
        const muattn_tensor views[] = {a.view(), lse_a.view(), b.view(), lse_b.view(), out.view(), lse.view()};
        ASSERT_EQ(muattn_merge(&views[0], &views[1], &views[2], &views[3], &views[4], &views[5]), MUATTN_OK)
            << muattn_last_error();
        EXPECT_TRUE(std::isnan(out.at(0, 0, 0, 0)));
        EXPECT_TRUE(std::isnan(lse.at(0, 0, 0, 0)));
    }
}

}  // namespace
}  // namespace muattn::test
