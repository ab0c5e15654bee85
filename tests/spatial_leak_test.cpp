// NaN and infinity: they reach exactly the queries that see them.
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInfinity = std::numeric_limits<float>::infinity();

class SpatialLeak : public OnEveryBackend {
protected:
    // Masks of every kind, over sizes within and beyond a tile and a chunk.
    std::vector<SpatialCase> masked_cases() const {
        const auto s = spatial_schedule(GetParam());
        std::vector<SpatialCase> cases;
        for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{9, 9},
                                       {5, 14},
                                       {s.tile_rows() + 3, 21},
                                       {s.block_rows() + 1, s.chunk_keys + 5}}) {
            SpatialCase c;
            c.B = 2, c.n_q = n_q, c.n_k = n_k, c.d = 6, c.d_v = 5;
            cases.push_back(c);
            c.causal = MUATTN_CAUSAL_TOP_LEFT;
            cases.push_back(c);
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            c.window = {1, 2, -1};
            cases.push_back(c);
            c.causal = MUATTN_CAUSAL_NONE;
            c.window = {1, 1, 1};
            c.lse = false;
            cases.push_back(c);
            c.window = {};
            c.key_lengths = {n_k / 2, n_k - 1};
            cases.push_back(c);
        }
        return cases;
    }

    static std::vector<int64_t> some_keys(int64_t n_k) { return {0, 1, n_k / 2, n_k - 2, n_k - 1}; }
};
MUATTN_ON_EVERY_BACKEND(SpatialLeak);

// The reference uses visible keys only, so its NaN and infinities are where they belong.
TEST_P(SpatialLeak, OneBadValue) {
    for (const SpatialCase &c : masked_cases()) {
        for (const int64_t j : some_keys(c.n_k)) {
            for (const float bad : {kNan, kInfinity, -kInfinity}) {
                const SpatialTensors t = make_tensors(c);
                t.v.at(1, 0, j, 2) = bad;
                SCOPED_TRACE(testing::Message() << bad << " in the value of key " << j);
                expect_agrees(c, t);
            }
        }
    }
}

// The values of many heads are looked through by several threads.
TEST_P(SpatialLeak, OneBadValueInOneOfManyHeads) {
    for (const int64_t bad_head : {0, 5, 11}) {
        SpatialCase c;
        c.B = 2, c.H = 12, c.Hk = 6, c.n_q = 40, c.n_k = 130, c.d = 8, c.d_v = 64;
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        const SpatialTensors t = make_tensors(c);
        t.v.at(bad_head / 6, bad_head % 6, 39, 2) = kNan;
        expect_agrees(c, t);
    }
}

// Of many columns one is bad; GPU kernels treat its group of columns in another way than the rest.
TEST_P(SpatialLeak, OneBadValueAmongManyColumns) {
    SpatialCase c;
    c.n_q = 45, c.n_k = 70, c.d = 64, c.d_v = 64;
    for (const muattn_causal causal : {MUATTN_CAUSAL_TOP_LEFT, MUATTN_CAUSAL_BOTTOM_RIGHT}) {
        c.causal = causal;
        for (const int64_t j : {3, 33, 69}) {
            for (const int64_t e : {0, 7, 37, 63}) {
                for (const float bad : {kNan, -kInfinity}) {
                    const SpatialTensors t = make_tensors(c);
                    t.v.at(0, 0, j, e) = bad;
                    SCOPED_TRACE(testing::Message() << bad << " in column " << e << " of the value of key " << j);
                    expect_agrees(c, t);
                }
            }
        }
    }
}

TEST_P(SpatialLeak, BadRowsOfKeysAndValues) {
    for (const SpatialCase &c : masked_cases()) {
        for (const int64_t j : some_keys(c.n_k)) {
            const SpatialTensors t = make_tensors(c);
            for (int64_t e = 0; e < c.d; e++) {
                t.k.at(0, 0, j, e) = kNan;
            }
            for (int64_t e = 0; e < c.d_v; e++) {
                t.v.at(0, 0, j, e) = kNan;
            }
            SCOPED_TRACE(testing::Message() << "NaN in key and value " << j);
            expect_agrees(c, t);
        }
    }
}

// An infinite logit: exp(inf - inf) for the rows that see +inf, weight 0 where it is -inf.
TEST_P(SpatialLeak, InfiniteKeys) {
    for (const SpatialCase &c : masked_cases()) {
        for (const int64_t j : some_keys(c.n_k)) {
            for (const float bad : {kInfinity, -kInfinity}) {
                const SpatialTensors t = make_tensors(c);
                t.k.at(1, 0, j, 3) = bad;
                if (c.causal != MUATTN_CAUSAL_NONE || c.window.enabled) {
                    // A row that sees this key alone would have -inf as its only logit; make it +inf.
                    for (int64_t i = 0; i < c.n_q; i++) {
                        t.q.at(1, 0, i, 3) = bad > 0 ? 0.5f : -0.5f;
                    }
                }
                SCOPED_TRACE(testing::Message() << bad << " in key " << j);
                expect_agrees(c, t);
            }
        }
    }
}

TEST_P(SpatialLeak, BadQueriesStayInTheirRow) {
    for (const SpatialCase &c : masked_cases()) {
        for (const int64_t i : {int64_t(0), c.n_q / 2, c.n_q - 1}) {
            for (const float bad : {kNan, kInfinity}) {
                const SpatialTensors t = make_tensors(c);
                for (int64_t e = 0; e < c.d; e++) {
                    t.q.at(0, 0, i, e) = bad;
                }
                // inf - inf in the dot product: NaN, whatever the signs of the other keys.
                for (int64_t j = 0; j < c.n_k; j++) {
                    t.k.at(0, 0, j, 0) = 1;
                    t.k.at(0, 0, j, 1) = -1;
                }
                SCOPED_TRACE(testing::Message() << bad << " in query " << i);
                expect_agrees(c, t);
            }
        }
    }
}

// Heads and batch entries do not mix either.
TEST_P(SpatialLeak, BadHeadsStayAmongTheirQueries) {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 7, c.n_k = 12, c.d = 5, c.d_v = 9;
    const SpatialTensors t = make_tensors(c);
    for (int64_t j = 0; j < c.n_k; j++) {
        for (int64_t e = 0; e < c.d_v; e++) {
            t.v.at(0, 1, j, e) = kNan;
        }
    }
    expect_agrees(c, t);
}

// Beyond its length a batch entry's memory may hold anything.
TEST_P(SpatialLeak, NanBeyondKeyLengths) {
    for (SpatialCase c : masked_cases()) {
        c.key_lengths = {c.n_k / 2, c.n_k / 3};
        const SpatialTensors t = make_tensors(c);
        for (int64_t b = 0; b < c.B; b++) {
            for (int64_t j = c.key_lengths[size_t(b)]; j < c.n_k; j++) {
                for (int64_t e = 0; e < c.d; e++) {
                    t.k.at(b, 0, j, e) = kNan;
                }
                for (int64_t e = 0; e < c.d_v; e++) {
                    t.v.at(b, 0, j, e) = kNan;
                }
            }
        }
        expect_agrees(c, t);
    }
}

// A call of every algorithm and kind of kernel, with sizes that leave its last blocks and vectors part empty.
std::vector<SpatialCase> calls_of_every_kind(const std::string &backend) {
    std::vector<SpatialCase> cases;
    SpatialCase c;
    c.B = 2, c.H = 2, c.Hk = 1, c.d = 9, c.d_v = 7;
    for (const auto &[n_q, n_k] : {std::pair<int64_t, int64_t>{17, 13}, {5, 67}, {1, 70}, {3, 600}, {50, 530}}) {
        c.n_q = n_q, c.n_k = n_k;
        for (const float softcap : {0.0f, 5.0f}) {
            c.softcap = softcap;
            for (const muattn_causal causal : {MUATTN_CAUSAL_NONE, MUATTN_CAUSAL_BOTTOM_RIGHT}) {
                c.causal = causal;
                cases.push_back(c);
                c.lse = !c.lse;
            }
        }
    }
    c.n_q = spatial_schedule(backend).tile_rows() + 5, c.n_k = spatial_schedule(backend).chunk_keys + 3;
    cases.push_back(c);
    return cases;
}

// Where the value of a hidden key is not finite, a kernel that keeps it out runs.
void hide_an_infinite_value(const SpatialCase &c, const SpatialTensors &t) {
    t.v.at(0, 0, c.n_k - 1, 1) = kInfinity;
    for (int64_t b = 0; b < t.mask.size(0); b++) {
        for (int64_t h = 0; h < t.mask.size(1); h++) {
            for (int64_t i = 0; i < t.mask.size(2); i++) {
                t.mask.at(b, h, i, t.mask.size(3) - 1) = -kInfinity;
            }
        }
    }
}

// A small mask that all batch entries share is looked through first. It hides the last key alone.
TEST_P(SpatialLeak, ValuesThatASharedMaskHides) {
    for (SpatialCase c : calls_of_every_kind(GetParam())) {
        c.mask = SpatialCase::additive;
        c.mask_full = {false, false, true, true};
        c.B = 8, c.d_v = 40;
        for (const float hides : {-kInfinity, std::numeric_limits<float>::lowest(), -8e37f}) {
            const SpatialTensors t = make_tensors(c);
            t.mask.fill_normal(4);
            for (int64_t i = 0; i < c.n_q; i++) {
                t.mask.at(0, 0, i, c.n_k - 1) = hides;
            }
            t.v.at(7, 0, c.n_k - 1, 3) = kNan;
            SCOPED_TRACE(testing::Message() << hides << " in the mask");
            expect_agrees(c, t);
        }
    }
}

// A mask that is NaN hides nothing: it makes the logit NaN.
TEST_P(SpatialLeak, NanInAMaskReachesEveryRowThatSeesIt) {
    using Full = std::array<bool, 4>;
    for (SpatialCase c : calls_of_every_kind(GetParam())) {
        c.mask = SpatialCase::additive;
        for (const Full full :
             {Full{true, true, true, true}, Full{true, false, false, true}, Full{false, true, true, false}}) {
            c.mask_full = full;
            for (const int64_t j : some_keys(full[3] ? c.n_k : 1)) {
                for (const bool guarded : {false, true}) {
                    const SpatialTensors t = make_tensors(c);
                    if (guarded && !full[3]) {
                        continue;
                    }
                    if (guarded) {
                        hide_an_infinite_value(c, t);
                    }
                    t.mask.at(t.mask.size(0) - 1, 0, t.mask.size(2) / 2, std::max<int64_t>(j, 0)) = kNan;
                    SCOPED_TRACE(testing::Message() << "NaN in the mask of key " << j << (guarded ? ", guarded" : ""));
                    expect_agrees(c, t);
                }
            }
        }
    }
}

// The same of q, k and v, without a mask and with a boolean one.
TEST_P(SpatialLeak, NanReachesEveryRowThatSeesItInEveryKind) {
    for (SpatialCase c : calls_of_every_kind(GetParam())) {
        for (const SpatialCase::Mask mask : {SpatialCase::no_mask, SpatialCase::boolean}) {
            c.mask = mask;
            for (const int64_t j : {int64_t(0), c.n_k - 1}) {
                const SpatialTensors in_q = make_tensors(c), in_k = make_tensors(c), in_v = make_tensors(c);
                in_q.q.at(1, 1, c.n_q - 1, c.d - 1) = kNan;
                in_k.k.at(1, 0, j, c.d - 1) = kNan;
                in_v.v.at(1, 0, j, c.d_v - 1) = kNan;
                for (const SpatialTensors *t : {&in_q, &in_k, &in_v}) {
                    SCOPED_TRACE(testing::Message() << "key " << j);
                    expect_agrees(c, *t);
                }
            }
        }
    }
}

// A capped logit is bounded, but that of a NaN is NaN.
TEST_P(SpatialLeak, NanPassesSoftcap) {
    SpatialCase c;
    c.n_q = 40, c.n_k = 9, c.d = 6, c.d_v = 5, c.softcap = 3;
    const SpatialTensors t = make_tensors(c);
    t.q.at(0, 0, 7, 2) = std::numeric_limits<float>::quiet_NaN();
    expect_agrees(c, t);
    t.k.at(0, 0, 4, 1) = std::numeric_limits<float>::quiet_NaN();
    expect_agrees(c, t);
}

}  // namespace
}  // namespace muattn::test
