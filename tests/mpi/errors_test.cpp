// Wrong calls over MPI: the same error on every rank, nothing written, and a group that goes on.
#include <gtest/gtest.h>

#include <functional>

#include "mpi/ranks.h"

namespace muattn::test {
namespace {

// A rank's call.
struct Call {
    int64_t B = 2, H = 12, Hk = 12, n = 4, d = 8;
    SpatialOptions options{};
    mpi::Balance balance = mpi::Balance::none;
    muattn_dtype dtype = MUATTN_FLOAT32;
    bool short_out = false;
    Tensor q, k, v, out;

    void make() {
        q = Tensor({B, H, n, d}, dense()), k = Tensor({B, Hk, n, d}, dense()), v = Tensor({B, Hk, n, d}, dense());
        out = Tensor({B, H, short_out ? n - 1 : n, d}, dense());
        for (const Tensor *t : {&q, &k, &v}) {
            t->fill_normal(1);
        }
        if (dtype != MUATTN_FLOAT32) {
            q = q.narrowed(dtype), k = k.narrowed(dtype), v = v.narrowed(dtype);
        }
    }
    void ring() const { mpi::ring_attention(all_ranks(), q.view(), k.view(), v.view(), out.view(), options, balance); }
    void ulysses() const {
        mpi::ulysses_attention(all_ranks(), q.view(), k.view(), v.view(), out.view(), options, balance);
    }
};

// The last rank's call is changed; every rank throws, with these words and this status.
void expect_error(const std::function<void(Call &)> &change, const std::function<void(const Call &)> &run,
                  muattn_status status, const std::string &words) {
    SCOPED_TRACE(words);
    Call call;
    if (all_ranks().rank() == all_ranks().size() - 1) {
        change(call);
    }
    call.make();
    try {
        run(call);
        ADD_FAILURE() << "no error";
    } catch (const Error &error) {
        EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
        EXPECT_EQ(error.status(), status) << error.what();
    }
    for (float x : call.out.elements()) {
        ASSERT_TRUE(is_untouched(x)) << "a call that fails writes to out";
    }
}

const auto ring = [](const Call &call) { call.ring(); };
const auto ulysses = [](const Call &call) { call.ulysses(); };

bool is_alone() { return all_ranks().size() == 1; }

TEST(ErrorsOnRanks, AWrongArgumentOfOneRankIsAnErrorOnAll) {
    for (const auto &run : {std::function<void(const Call &)>(ring), std::function<void(const Call &)>(ulysses)}) {
        expect_error([](Call &c) { c.short_out = true; }, run, MUATTN_INVALID_OUT, "out.shape[2] (n_q)");
        expect_error([](Call &c) { c.options.softcap = -1; }, run, MUATTN_INVALID_SOFTCAP, "softcap");
        expect_error([](Call &c) { c.Hk = 5; }, run, MUATTN_INVALID_K, "k.shape[1] (Hk)");
        expect_error([](Call &c) { c.dtype = MUATTN_BFLOAT16; }, run, MUATTN_INVALID_OUT, "out.dtype");
        expect_error([](Call &c) { c.options.d_base = -1; }, run, MUATTN_INVALID_SCALING, "d_base");
    }
}

TEST(ErrorsOnRanks, WhatDiffersIsNamed) {
    if (is_alone()) {
        GTEST_SKIP() << "one rank";
    }
    static const int64_t lengths[] = {1, 2};
    static const float scale = 0.5f;
    for (const auto &run : {std::function<void(const Call &)>(ring), std::function<void(const Call &)>(ulysses)}) {
        expect_error([](Call &c) { c.d = 16; }, run, MUATTN_INVALID_ARGUMENT,
                     "sizes of q [batch, heads, channels] must be the same");
        expect_error([](Call &c) { c.options.causal = MUATTN_CAUSAL_TOP_LEFT; }, run, MUATTN_INVALID_ARGUMENT,
                     "causal must be the same");
        expect_error(
            [](Call &c) {
                c.options.window = {1, 2, 3};
            },
            run, MUATTN_INVALID_ARGUMENT, "window must be the same: rank 0 has none");
        expect_error([](Call &c) { c.options.key_lengths = lengths; }, run, MUATTN_INVALID_ARGUMENT,
                     "key_lengths must be the same");
        expect_error([](Call &c) { c.options.scale = &scale, c.options.scale_count = 1; }, run, MUATTN_INVALID_ARGUMENT,
                     "scale must be the same");
        expect_error([](Call &c) { c.balance = mpi::Balance::zigzag; }, run, MUATTN_INVALID_ARGUMENT,
                     "balance must be the same");
    }
    const int last = all_ranks().size() - 1;
    expect_error([](Call &) {}, [&](const Call &c) { all_ranks().rank() == last ? c.ring() : c.ulysses(); },
                 MUATTN_INVALID_ARGUMENT, "function must be the same");
}

// What only all ranks' tokens together tell.
TEST(ErrorsOnRanks, CountsOfAllRanks) {
    const int ranks = all_ranks().size();
    static const int64_t lengths[] = {1, 999};
    Call call;
    call.options.key_lengths = lengths;
    call.make();
    EXPECT_THROW(call.ring(), Error);
    EXPECT_THROW(call.ulysses(), Error);
    if (!is_alone()) {
        Call uneven;
        uneven.n = all_ranks().rank() == 0 ? 3 : 5;
        uneven.balance = mpi::Balance::zigzag;
        uneven.make();
        EXPECT_THROW(uneven.ring(), Error);
        Call heads;
        heads.H = heads.Hk = 1;
        heads.make();
        heads.ring();
        try {
            heads.ulysses();
            ADD_FAILURE() << "no error";
        } catch (const Error &error) {
            EXPECT_NE(std::string(error.what()).find("multiple of the number of ranks, " + std::to_string(ranks)),
                      std::string::npos)
                << error.what();
        }
    }
}

TEST(ErrorsOnRanks, WhatTheRingDoesNotTake) {
    static const float numbers[4] = {};
    static const muattn_tensor mask = tensor(numbers, {1, 1, 4, 1});
    expect_error([](Call &c) { c.options.mask = &mask; }, ring, MUATTN_INVALID_MASK, "mask must be null");
    expect_error([](Call &c) { c.options.causal = MUATTN_CAUSAL_OFFSET, c.options.causal_offset = INT64_MAX; }, ring,
                 MUATTN_INVALID_CAUSAL, "causal_offset must lie in");
}

TEST(ErrorsOnRanks, GroupsThatCannotBe) {
    EXPECT_THROW(mpi::Group group(MPI_COMM_NULL), Error);
    EXPECT_THROW(mpi::Group group(MPI_COMM_WORLD, std::chrono::seconds(-1)), Error);
}

// After all of these.
TEST(ErrorsOnRanks, TheGroupGoesOn) {
    Call call;
    call.make();
    call.ring();
    call.ulysses();
    for (float x : call.out.elements()) {
        ASSERT_FALSE(is_untouched(x));
    }
}

}  // namespace
}  // namespace muattn::test
