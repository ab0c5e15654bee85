// Tensors in 16 bits over MPI: float32's results on the same numbers, rounded once.
#include <gtest/gtest.h>

#include "mpi/ranks.h"

namespace muattn::test {
namespace {

constexpr int64_t B = 2, H = 12, n = 21, d = 16;

// This rank's tokens, in float32, not rounded yet.
Tensor made(unsigned seed) {
    const Tensor whole({B, H, n, d}, dense());
    whole.fill_normal(seed);
    return part_of(whole, cut_tokens(n, Cut::zigzag)[size_t(all_ranks().rank())], dense());
}

Tensor zeros(muattn_dtype dtype) {
    const Tensor floats = made(0);
    floats.fill(0);
    return dtype == MUATTN_FLOAT32 ? floats : floats.narrowed(dtype);
}

struct Inputs {
    Tensor q, k, v, d_out;

    explicit Inputs(muattn_dtype dtype)
        : q(made(1).narrowed(dtype)),
          k(made(2).narrowed(dtype)),
          v(made(3).narrowed(dtype)),
          d_out(made(4).narrowed(dtype)) {}
    Inputs widened() const {
        Inputs wide = *this;
        for (Tensor *t : {&wide.q, &wide.k, &wide.v, &wide.d_out}) {
            *t = t->widened();
        }
        return wide;
    }
};

struct Gradients {
    Tensor d_q, d_k, d_v;
    muattn_tensor views[3];

    explicit Gradients(muattn_dtype dtype)
        : d_q(zeros(dtype)), d_k(zeros(dtype)), d_v(zeros(dtype)), views{d_q.view(), d_k.view(), d_v.view()} {}
    template<typename Wanted>
    Wanted wanted() const {
        Wanted wanted{};
        wanted.d_q = &views[0], wanted.d_k = &views[1], wanted.d_v = &views[2];
        return wanted;
    }
};

void expect_rounded(const Tensor &narrow, const Tensor &floats, const char *name) {
    EXPECT_EQ(narrow.bits(), floats.narrowed(narrow.view().dtype).bits()) << name;
}
void expect_rounded(const Gradients &narrow, const Gradients &floats) {
    expect_rounded(narrow.d_q, floats.d_q, "d_q");
    expect_rounded(narrow.d_k, floats.d_k, "d_k");
    expect_rounded(narrow.d_v, floats.d_v, "d_v");
}

class TypesOnRanks : public testing::TestWithParam<muattn_dtype> {};

TEST_P(TypesOnRanks, Ring) {
    SpatialOptions options{};
    options.causal = MUATTN_CAUSAL_TOP_LEFT;
    const Inputs narrow(GetParam()), wide = narrow.widened();
    const Tensor out = zeros(GetParam()), floats = zeros(MUATTN_FLOAT32), lse({B, H, out.size(2), 1}, dense());
    mpi::ring_attention(all_ranks(), narrow.q.view(), narrow.k.view(), narrow.v.view(), out.view(), lse.view(), options,
                        mpi::Balance::zigzag);
    mpi::ring_attention(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), floats.view(), options,
                        mpi::Balance::zigzag);
    expect_rounded(out, floats, "out");

    const Gradients found(GetParam()), of_floats(MUATTN_FLOAT32);
    mpi::ring_attention_backward(all_ranks(), narrow.q.view(), narrow.k.view(), narrow.v.view(), out.view(), lse.view(),
                                 narrow.d_out.view(), found.wanted<SpatialGradients>(), options, mpi::Balance::zigzag);
    mpi::ring_attention_backward(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), out.widened().view(),
                                 lse.view(), wide.d_out.view(), of_floats.wanted<SpatialGradients>(), options,
                                 mpi::Balance::zigzag);
    expect_rounded(found, of_floats);
}

// Keys and values in 16 bits, queries and results in float32.
TEST_P(TypesOnRanks, RingWithACache) {
    const Inputs narrow(GetParam()), wide = narrow.widened();
    const Tensor out = zeros(MUATTN_FLOAT32), floats = zeros(MUATTN_FLOAT32);
    mpi::ring_attention(all_ranks(), wide.q.view(), narrow.k.view(), narrow.v.view(), out.view(), {},
                        mpi::Balance::zigzag);
    mpi::ring_attention(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), floats.view(), {},
                        mpi::Balance::zigzag);
    EXPECT_EQ(out.elements(), floats.elements());
}

TEST_P(TypesOnRanks, Ulysses) {
    const Inputs narrow(GetParam()), wide = narrow.widened();
    const Tensor out = zeros(GetParam()), floats = zeros(MUATTN_FLOAT32);
    mpi::UlyssesHeads heads;
    mpi::ulysses_attention(all_ranks(), narrow.q.view(), narrow.k.view(), narrow.v.view(), out.view(), {},
                           mpi::Balance::zigzag, &heads);
    mpi::ulysses_attention(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), floats.view(), {},
                           mpi::Balance::zigzag);
    expect_rounded(out, floats, "out");

    // Of the result as it was rounded, as those of the single call are.
    const Gradients found(GetParam()), of_floats(MUATTN_FLOAT32);
    mpi::UlyssesHeads same = heads;
    for (mpi::detail::Array *array : {&same.q, &same.k, &same.v, &same.out}) {
        const mpi::detail::Array floats_of_it(MUATTN_FLOAT32, mpi::detail::shape_of(array->view()));
        convert(array->view(), floats_of_it.view());
        *array = floats_of_it;
    }
    mpi::ulysses_attention_backward(all_ranks(), heads, narrow.d_out.view(), found.wanted<SpatialGradients>());
    mpi::ulysses_attention_backward(all_ranks(), same, wide.d_out.view(), of_floats.wanted<SpatialGradients>());
    expect_rounded(found, of_floats);
}

TEST_P(TypesOnRanks, Channel) {
    const Inputs narrow(GetParam()), wide = narrow.widened();
    const Tensor out = zeros(GetParam()), floats = zeros(MUATTN_FLOAT32);
    mpi::ChannelSums sums, of_same;
    mpi::channel_attention(all_ranks(), narrow.q.view(), narrow.k.view(), narrow.v.view(), out.view(), {}, &sums);
    mpi::channel_attention(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), floats.view(), {}, &of_same);
    expect_rounded(out, floats, "out");

    const Gradients found(GetParam()), of_floats(MUATTN_FLOAT32);
    mpi::channel_attention_backward(all_ranks(), narrow.q.view(), narrow.k.view(), narrow.v.view(), narrow.d_out.view(),
                                    sums, found.wanted<ChannelGradients>());
    mpi::channel_attention_backward(all_ranks(), wide.q.view(), wide.k.view(), wide.v.view(), wide.d_out.view(),
                                    of_same, of_floats.wanted<ChannelGradients>());
    expect_rounded(found, of_floats);
}

INSTANTIATE_TEST_SUITE_P(, TypesOnRanks, testing::Values(MUATTN_BFLOAT16, MUATTN_FLOAT16),
                         [](const auto &of) { return of.param == MUATTN_BFLOAT16 ? "Bfloat16" : "Float16"; });

}  // namespace
}  // namespace muattn::test
