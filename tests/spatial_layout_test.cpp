// Spatial attention: any strides in, any distinct strides out, and nothing written between them.
#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class SpatialLayout : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialLayout);

SpatialCase some_case() {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 29, c.n_k = 31, c.d = 13, c.d_v = 10;
    return c;
}

TEST_P(SpatialLayout, EveryLayout) {
    for (const Layout &layout : {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()}) {
        SpatialCase c = some_case();
        c.layout = layout;
        expect_agrees(c);
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        expect_agrees(c);
        c.n_q = spatial_schedule(GetParam()).tile_rows() + 1;
        expect_agrees(c);
    }
}

// Each tensor in a layout of its own: no two strides need to agree.
TEST_P(SpatialLayout, LayoutsMixed) {
    const Layout layouts[] = {dense(), token_major(), batch_inside(), padded(), reversed()};
    const SpatialCase c = some_case();
    for (size_t i = 0; i < std::size(layouts); i++) {
        auto next = [&, at = i]() mutable { return layouts[at++ % std::size(layouts)]; };
        SpatialTensors t;
        t.q = Tensor({c.B, c.H, c.n_q, c.d}, next());
        t.k = Tensor({c.B, c.Hk, c.n_k, c.d}, next());
        t.v = Tensor({c.B, c.Hk, c.n_k, c.d_v}, next());
        t.out = Tensor({c.B, c.H, c.n_q, c.d_v}, next());
        t.lse = Tensor({c.B, c.H, c.n_q, 1}, next());
        t.q.fill_normal(1);
        t.k.fill_normal(2);
        t.v.fill_normal(3);
        expect_agrees(c, t);
    }
}

// Q, K, V in one array, and the output as a fourth slice between them: interleaved, yet no element is shared.
TEST_P(SpatialLayout, Packed) {
    for (const int64_t d : {1, 7, 16, 64}) {
        SpatialCase c;
        c.B = 2, c.H = 3, c.Hk = 3, c.n_q = c.n_k = 37, c.d = c.d_v = d;
        const std::vector<Tensor> slices = packed_tensors(4, c.B, c.H, c.n_q, d);
        SpatialTensors t = make_tensors(c);
        t.q = slices[0], t.k = slices[1], t.out = slices[2], t.v = slices[3];
        t.q.fill_normal(1);
        t.k.fill_normal(2);
        t.v.fill_normal(3);
        expect_agrees(c, t);
    }
}

// One array as queries, keys and values.
TEST_P(SpatialLayout, SharedInputs) {
    SpatialCase c = some_case();
    c.H = c.Hk, c.n_q = c.n_k, c.d_v = c.d;
    SpatialTensors t = make_tensors(c);
    t.k = t.q, t.v = t.q;
    expect_agrees(c, t);
}

// One query and one key for all: stride 0 along the tokens.
TEST_P(SpatialLayout, TokensRepeated) {
    SpatialCase c = some_case();
    c.layout.repeated = {false, false, true, false};
    c.layout.implicit = false;
    c.layout.name = "tokens_repeated";
    expect_agrees(c);
}

// The innermost dimension of lse has one element, so its stride is anything.
TEST_P(SpatialLayout, LseStrideIsFree) {
    const SpatialCase c = some_case();
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    const std::vector<float> expected = t.lse.elements();
    for (const int64_t stride : {int64_t(0), int64_t(-7), int64_t(1) << 60}) {
        t.lse.fill(untouched());
        const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view();
        muattn_tensor lse = t.lse.view();
        lse.strides[0] = c.H * c.n_q, lse.strides[1] = c.n_q, lse.strides[2] = 1, lse.strides[3] = stride;
        ASSERT_EQ(muattn_spatial_attention_forward(&q, &k, &v, nullptr, &out, &lse), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(t.lse.elements(), expected) << "with stride " << stride;
    }
}

// Strides of dimensions with one index are not looked at.
TEST_P(SpatialLayout, StridesOfSingleIndicesAreFree) {
    SpatialCase c = some_case();
    c.B = c.H = c.Hk = c.n_q = c.n_k = c.d = c.d_v = 1;
    const SpatialTensors t = make_tensors(c);
    muattn_tensor views[] = {t.q.view(), t.k.view(), t.v.view(), t.out.view()};
    for (muattn_tensor &view : views) {
        for (int64_t &stride : view.strides) {
            stride = INT64_MIN;
        }
    }
    ASSERT_EQ(muattn_spatial_attention_forward(&views[0], &views[1], &views[2], nullptr, &views[3], nullptr), MUATTN_OK)
        << muattn_last_error();
    EXPECT_EQ(t.out.elements(), t.v.elements());
}

}  // namespace
}  // namespace muattn::test
