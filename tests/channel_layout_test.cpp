// Channel attention: strides, and the other features together.
#include "support/backends.h"
#include "support/cases.h"
#include "support/pairwise.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class ChannelLayout : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ChannelLayout);

const Layout kLayouts[] = {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()};

TEST_P(ChannelLayout, EveryLayout) {
    const auto s = channel_schedule(GetParam());
    for (const Layout &layout : kLayouts) {
        ChannelCase c;
        c.B = 2, c.H = 3, c.n = 29, c.d = 13;
        c.layout = layout;
        expect_agrees(c);
        c.d = s.tile_rows() + 1;
        expect_agrees(c);
        c.n = s.chunk_tokens + 1, c.d = 7;
        expect_agrees(c);
    }
}

TEST_P(ChannelLayout, LayoutsMixed) {
    ChannelCase c;
    c.B = 2, c.H = 3, c.n = 29, c.d = 13;
    const Shape shape{c.B, c.H, c.n, c.d};
    for (int i = 0; i < 5; i++) {
        const ChannelTensors t{Tensor(shape, kLayouts[i]), Tensor(shape, kLayouts[(i + 1) % 5]),
                               Tensor(shape, kLayouts[(i + 2) % 5]), Tensor(shape, kLayouts[(i + 3) % 5])};
        t.q.fill_normal(1);
        t.k.fill_normal(2);
        t.v.fill_normal(3);
        expect_agrees(c, t);
    }
}

// Q, K, V in one array, and the output as a fourth slice between them.
TEST_P(ChannelLayout, Packed) {
    for (const int64_t d : {1, 7, 16, 64}) {
        ChannelCase c;
        c.B = 2, c.H = 3, c.n = 37, c.d = d;
        const std::vector<Tensor> slices = packed_tensors(4, c.B, c.H, c.n, d);
        const ChannelTensors t{slices[0], slices[1], slices[3], slices[2]};
        t.q.fill_normal(1);
        t.k.fill_normal(2);
        t.v.fill_normal(3);
        expect_agrees(c, t);
    }
}

TEST_P(ChannelLayout, SharedInputs) {
    ChannelCase c;
    c.n = 21, c.d = 18;
    ChannelTensors t = make_tensors(c);
    t.k = t.q, t.v = t.q;
    expect_agrees(c, t);
}

TEST_P(ChannelLayout, TokensRepeated) {
    ChannelCase c;
    c.H = 2, c.n = 21, c.d = 18;
    c.layout.name = "tokens_repeated";
    c.layout.implicit = false;
    c.layout.repeated = {false, false, true, false};
    expect_agrees(c);
}

enum Scale { by_rule, one_number, per_head, scale_count };
enum Multiplier { sp, mup, mup_heads, mup_mean, given, negative, zero, multiplier_count };

TEST_P(ChannelLayout, FeaturesInPairs) {
    const auto s = channel_schedule(GetParam());
    const std::pair<int64_t, int64_t> sizes[] = {
        {9, 11}, {1, 14}, {33, 1}, {s.chunk_tokens + 5, 19}, {6, s.tile_rows() + 9}};
    for (const std::vector<int> &row :
         pairwise({int(std::size(kLayouts)), scale_count, multiplier_count, int(std::size(sizes))})) {
        ChannelCase c;
        c.B = 2, c.H = 3;
        c.layout = kLayouts[row[0]];
        switch (row[1]) {
        case one_number: c.scale = {-0.3f}; break;
        case per_head: c.scale = {0.1f, 0.0f, 0.7f}; break;
        }
        switch (row[2]) {
        case mup: c.scaling = MUATTN_SCALING_MUP, c.d_base = 16; break;
        case mup_heads: c.scaling = MUATTN_SCALING_MUP_HEADS; break;
        case mup_mean: c.scaling = MUATTN_SCALING_MUP_MEAN; break;
        case given: c.output_multiplier = {3.5f}; break;
        case negative: c.output_multiplier = {-0.125f}; break;
        case zero: c.output_multiplier = {0.0f}; break;
        }
        std::tie(c.n, c.d) = sizes[row[3]];
        expect_agrees(c);
    }
}

}  // namespace
}  // namespace muattn::test
