// Wrong calls over MPI: the same error on every rank, nothing written, and a group that goes on.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <thread>

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
    static const float scale = 0.5f, sinks[12] = {};
    for (const auto &run : {std::function<void(const Call &)>(ring), std::function<void(const Call &)>(ulysses)}) {
        expect_error([](Call &c) { c.d = 16; }, run, MUATTN_INVALID_ARGUMENT,
                     "sizes of q [batch, heads, channels] must be the same");
        expect_error([](Call &c) { c.options.causal = MUATTN_CAUSAL_TOP_LEFT; }, run, MUATTN_INVALID_ARGUMENT,
                     "causal must be the same: rank 0 has none, rank ");
        expect_error(
            [](Call &c) {
                c.options.window = {1, 2, 3};
            },
            run, MUATTN_INVALID_ARGUMENT, "window must be the same: rank 0 has none");
        expect_error([](Call &c) { c.options.key_lengths = lengths; }, run, MUATTN_INVALID_ARGUMENT,
                     "key_lengths must be the same");
        expect_error([](Call &c) { c.options.scale = &scale, c.options.scale_count = 1; }, run, MUATTN_INVALID_ARGUMENT,
                     "scale must be the same");
        expect_error([](Call &c) { c.options.sink = sinks; }, run, MUATTN_INVALID_ARGUMENT, "sink must be the same");
        expect_error([](Call &c) { c.options.softcap = 3; }, run, MUATTN_INVALID_ARGUMENT,
                     "softcap must be the same: rank 0 has 0, rank ");
        expect_error([](Call &c) { c.options.scaling = MUATTN_SCALING_UMUP; }, run, MUATTN_INVALID_ARGUMENT,
                     "scaling must be the same: rank 0 has sp, rank ");
        expect_error([](Call &c) { c.balance = mpi::Balance::zigzag; }, run, MUATTN_INVALID_ARGUMENT,
                     "balance must be the same");
    }
    const int last = all_ranks().size() - 1;
    expect_error([](Call &) {}, [&](const Call &c) { all_ranks().rank() == last ? c.ring() : c.ulysses(); },
                 MUATTN_INVALID_ARGUMENT, "function must be the same");
}

// What only all ranks' tokens together tell.
TEST(ErrorsOnRanks, CountsOfAllRanks) {
    static const int64_t lengths[] = {1, 999};
    static const float numbers[30] = {};
    static const muattn_tensor small_mask = tensor(numbers, {1, 1, 5, 1});
    const auto expect_on_all = [](Call call, const std::function<void(const Call &)> &run, muattn_status status,
                                  const std::string &words) {
        call.make();
        try {
            run(call);
            ADD_FAILURE() << "no error, not " << words;
        } catch (const Error &error) {
            EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
            EXPECT_EQ(error.status(), status) << error.what();
        }
        EXPECT_TRUE(is_untouched(call.out.elements()[0]));
    };
    Call long_keys;
    long_keys.options.key_lengths = lengths;
    expect_on_all(long_keys, ring, MUATTN_INVALID_KEY_LENGTHS, "ring_attention(): key_lengths[1] must lie in 0..");
    expect_on_all(long_keys, ulysses, MUATTN_INVALID_KEY_LENGTHS,
                  "ulysses_attention(): key_lengths[1] must lie in 0..");
    Call masked;
    masked.options.mask = &small_mask;
    expect_on_all(masked, ulysses, MUATTN_INVALID_MASK, "mask.shape[2] must be 1, or that of all ranks' tokens, ");
    if (!is_alone()) {
        Call uneven;
        uneven.n = all_ranks().rank() == 0 ? 3 : 5;
        uneven.balance = mpi::Balance::zigzag;
        expect_on_all(uneven, ring, MUATTN_INVALID_ARGUMENT,
                      "q: Balance::zigzag wants the tokens that stretches() gives to each rank, [");
        Call heads;
        heads.H = heads.Hk = 1;
        expect_on_all(heads, ulysses, MUATTN_INVALID_Q,
                      "multiple of the number of ranks, " + std::to_string(all_ranks().size()));
    }
}

TEST(ErrorsOnRanks, BackwardCalls) {
    Call call;
    call.make();
    const Tensor lse({call.B, call.H, call.n, 1}, dense()), d_q(call.q.shape(), dense());
    const muattn_tensor to = d_q.view();
    SpatialGradients gradients{};
    gradients.d_q = &to;
    mpi::UlyssesHeads heads, other;
    mpi::ring_attention(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(), lse.view());
    mpi::ulysses_attention(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(), {},
                           mpi::Balance::none, &heads);
    Call longer;
    longer.n = all_ranks().rank() == 0 ? 9 : 4;
    longer.make();
    mpi::ulysses_attention(all_ranks(), longer.q.view(), longer.k.view(), longer.v.view(), longer.out.view(), {},
                           mpi::Balance::none, &other);
    const bool is_last = all_ranks().rank() == all_ranks().size() - 1;
    d_q.fill(untouched());
    const auto expect = [&](const std::function<void()> &run, const std::string &words) {
        try {
            run();
            ADD_FAILURE() << "no error, not " << words;
        } catch (const Error &error) {
            EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
        }
        EXPECT_TRUE(is_untouched(d_q.at(0, 0, 0, 0)));
    };
    const Tensor d_out = is_last ? longer.q.swapped() : call.out;  // of another shape
    expect(
        [&] {
            mpi::ring_attention_backward(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(),
                                         lse.view(), d_out.view(), gradients);
        },
        "d_out.shape[2] (n_q) must equal out's");
    expect([&] { mpi::ulysses_attention_backward(all_ranks(), heads, d_out.view(), gradients); },
           "d_out.shape[2] (n_q) must equal out's");
    expect([&] { mpi::ulysses_attention_backward(all_ranks(), {}, call.out.view(), gradients); },
           "heads must be those");
    if (all_ranks().size() > 1) {  // the others pass those of another call
        expect(
            [&] {
                mpi::ulysses_attention_backward(all_ranks(), is_last ? heads : other,
                                                (is_last ? call.out : longer.out).view(), {});
            },
            "heads [start, count, ...] must be the same");
    }
    mpi::ChannelSums sums, of_others;
    mpi::channel_attention(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(), {}, &sums);
    mpi::channel_attention(all_ranks(), longer.q.view(), longer.k.view(), longer.v.view(), longer.out.view(), {},
                           &of_others);
    ChannelGradients of_channels{};
    of_channels.d_q = &to;
    expect(
        [&] {
            mpi::channel_attention_backward(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(),
                                            {}, of_channels);
        },
        "sums must be those");
    expect(
        [&] {
            mpi::channel_attention_backward(all_ranks(), call.q.view(), call.k.view(), call.v.view(), call.out.view(),
                                            of_others, of_channels);
        },
        "sums must be those");
    d_q.fill(untouched());
}

// Of calls with values of 1, whose outputs are 1.
void expect_mean_of_values(const Call &call) {
    for (float x : call.out.elements()) {
        ASSERT_NEAR(x, 1, 1e-6);
    }
}

// A kernel of one rank fails when all have agreed: the others are not given wrong numbers, and no later call is taken for this one.
TEST(ErrorsOnRanks, TooLittleMemoryOfOneRank) {
    const bool is_last = all_ranks().rank() == all_ranks().size() - 1;
    const std::function<void(mpi::Group &, const Call &)> calls[] = {
        [](mpi::Group &group, const Call &c) {
            mpi::ring_attention(group, c.q.view(), c.k.view(), c.v.view(), c.out.view());
        },
        [](mpi::Group &group, const Call &c) {
            mpi::ulysses_attention(group, c.q.view(), c.k.view(), c.v.view(), c.out.view());
        },
        [](mpi::Group &group, const Call &c) {
            mpi::channel_attention(group, c.q.view(), c.k.view(), c.v.view(), c.out.view());
        }};
    for (const auto &call : calls) {
        auto *const group = new mpi::Group(MPI_COMM_WORLD, std::chrono::milliseconds(700));  // until the process ends
        Call c;
        c.make();
        c.v.fill(1);
        if (is_last) {
            muattn_release_memory();
            ASSERT_EQ(muattn_set_allocator([](void *, size_t, size_t) -> void * { return nullptr; },
                                           [](void *, void *) {}, nullptr),
                      MUATTN_OK);
            try {
                call(*group, c);
                ADD_FAILURE() << "no error";
            } catch (const Error &error) {
                EXPECT_EQ(error.status(), MUATTN_OUT_OF_MEMORY) << error.what();
            }
            muattn_set_allocator(nullptr, nullptr, nullptr);
        } else {
            try {
                call(*group, c);
                expect_mean_of_values(c);  // what it needed of the last rank had come: so it may be in a ring
            } catch (const mpi::CommunicationError &) {
            }
        }
        if (!is_alone()) {
            EXPECT_THROW(call(*group, c), mpi::CommunicationError);
        } else {
            call(*group, c);  // nobody waits
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
    mpi::Group for_ever(MPI_COMM_WORLD, std::chrono::duration<double>(INFINITY));
    Call call;
    call.make();
    mpi::ring_attention(for_ever, call.q.view(), call.k.view(), call.v.view(), call.out.view());
}

TEST(ErrorsOnRanks, AnotherThreadThanTheOneOfMpi) {
    bool is_refused = false;
    std::thread([&] {
        try {
            Call call;
            call.make();
            call.ring();
        } catch (const Error &error) {
            is_refused = std::string(error.what()).find("MPI_THREAD_FUNNELED") != std::string::npos;
        }
    }).join();
    EXPECT_TRUE(is_refused);
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
