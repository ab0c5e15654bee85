// Nothing is read or written outside a tensor: each one ends, or begins, at a page that may not be accessed.
#include <algorithm>
#include <limits>
#include <utility>

#include "support/backends.h"
#include "support/cases.h"
#include "support/channel_gradients.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

using Place = Memory::Place;
constexpr Place kPlaces[] = {Place::before_forbidden_page, Place::after_forbidden_page};
// Floats from one token of d to the next: d, and so many that kernels copy them.
std::vector<int64_t> distances(int64_t d) { return {d, d + 70}; }

class OutOfBounds : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(OutOfBounds);

TEST_P(OutOfBounds, Spatial) {
    const auto s = spatial_schedule(GetParam());
    for (const Place place : kPlaces) {
        for (const int64_t n_q :
             {int64_t(1), int64_t(3), int64_t(s.lanes), int64_t(s.block_rows() + 1), int64_t(s.tile_rows() + 1)}) {
            for (const int64_t n_k : {int64_t(1), int64_t(5), int64_t(s.chunk_keys), int64_t(s.chunk_keys + 1)}) {
                for (const int64_t d : {1, 3, 17}) {
                    SpatialCase c;
                    c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = 18 - d;
                    SpatialTensors t;
                    t.q = Tensor({1, 1, n_q, d}, place);
                    t.k = Tensor({1, 1, n_k, d}, place);
                    t.v = Tensor({1, 1, n_k, c.d_v}, place);
                    t.out = Tensor({1, 1, n_q, c.d_v}, place);
                    t.lse = Tensor({1, 1, n_q, 1}, place);
                    t.q.fill_normal(1);
                    t.k.fill_normal(2);
                    t.v.fill_normal(3);
                    expect_agrees(c, t);
                    // With a bad value, so that the guarded kernels run.
                    c.causal = MUATTN_CAUSAL_TOP_LEFT;
                    t.v.at(0, 0, n_k - 1, 0) = std::numeric_limits<float>::quiet_NaN();
                    expect_agrees(c, t);
                }
            }
        }
    }
}

TEST_P(OutOfBounds, Masks) {
    const auto s = spatial_schedule(GetParam());
    for (const Place place : kPlaces) {
        for (const int64_t n_k :
             {int64_t(1), int64_t(5), int64_t(s.lanes + 1), int64_t(49), int64_t(s.chunk_keys + 517)}) {
            for (const int64_t n_q : {1, 7}) {
                for (const bool of_each_query : {false, true}) {
                    for (const bool of_each_key : {false, true}) {
                        SpatialCase c;
                        c.n_q = n_q, c.n_k = n_k, c.d = 5, c.d_v = 6;
                        c.mask_full = {false, false, of_each_query, of_each_key};
                        c.mask = SpatialCase::additive;
                        SpatialTensors t = make_tensors(c);
                        t.mask = Tensor(t.mask.shape(), place);
                        t.mask.fill_normal(4);
                        expect_agrees(c, t);
                        c.mask = SpatialCase::boolean;
                        t = make_tensors(c);
                        t.move_mask(place);
                        expect_agrees(c, t);
                    }
                }
            }
        }
    }
}

TEST_P(OutOfBounds, MasksOfGradients) {
    for (const int64_t n_k : {1, 5, 17, 49}) {
        for (const bool of_each_key : {false, true}) {
            for (const bool wants_mask : {false, true}) {
                SpatialBackwardCase c;
                c.n_q = 7, c.n_k = n_k, c.d = 6, c.d_v = 5;
                c.mask_full = {false, false, true, of_each_key};
                c.mask = SpatialCase::additive;
                c.wants_mask = wants_mask;
                SpatialGradientTensors t = make_gradient_tensors(c);
                t.inputs.mask = Tensor(t.inputs.mask.shape(), Place::before_forbidden_page);
                t.inputs.mask.fill_normal(4);
                write_forward_result(c, t);
                expect_gradients_agree(c, t);
                c.mask = SpatialCase::boolean;
                c.wants_mask = false;
                t = make_gradient_tensors(c);
                t.inputs.move_mask(Place::before_forbidden_page);
                expect_gradients_agree(c, t);
            }
        }
    }
}

// Keys from a batch entry's length on are not there at all. The bits are those of a call without them, where both take
// tiles, and where both split the keys.
TEST_P(OutOfBounds, KeysBeyondTheirLength) {
    const auto s = spatial_schedule(GetParam());
    // Whole blocks of more than 32 queries: fewer, or blocks that are not full, and keys are split.
    const int64_t chunk = s.chunk_keys, tiles_n_q = (32 / s.block_rows() + 1) * s.block_rows(), split_n_q = 1;
    const std::pair<int64_t, int64_t> cases[] = {{tiles_n_q, 0},     {tiles_n_q, 1},         {tiles_n_q, 5},
                                                 {tiles_n_q, chunk}, {tiles_n_q, chunk + 1}, {split_n_q, 5},
                                                 {split_n_q, chunk}, {split_n_q, chunk + 1}};
    for (const auto &[n_q, length] : cases) {
        for (const muattn_causal causal : {MUATTN_CAUSAL_NONE, MUATTN_CAUSAL_BOTTOM_RIGHT}) {
            SpatialCase c;
            c.n_q = n_q, c.n_k = 2 * chunk, c.d = 7, c.d_v = 6;
            c.causal = causal;
            c.key_lengths = {length};
            SpatialTensors t = make_tensors(c);
            const Tensor k({1, 1, length > 0 ? length : 1, c.d}, Place::before_forbidden_page);
            const Tensor v({1, 1, length > 0 ? length : 1, c.d_v}, Place::before_forbidden_page);
            k.fill_normal(2);
            v.fill_normal(3);
            SpatialCase valid = c;
            valid.n_k = std::max<int64_t>(length, 1);
            // Bottom right counts from the length, whatever the n_k of the call.
            valid.causal = causal == MUATTN_CAUSAL_NONE ? MUATTN_CAUSAL_NONE : MUATTN_CAUSAL_OFFSET;
            valid.causal_offset = length - c.n_q;
            const SpatialTensors expected{t.q, k, v, Tensor({1, 1, c.n_q, c.d_v}, dense()),
                                          Tensor({1, 1, c.n_q, 1}, dense())};
            expect_agrees(valid, expected);

            const muattn_spatial_options options = c.options();
            const muattn_tensor q = t.q.view(), out = t.out.view(), lse = t.lse.view();
            muattn_tensor k_view = k.view(), v_view = v.view();
            k_view.shape[2] = v_view.shape[2] = c.n_k;
            ASSERT_EQ(muattn_spatial_attention_forward(&q, &k_view, &v_view, &options, &out, &lse), MUATTN_OK)
                << muattn_last_error();
            EXPECT_EQ(t.out.elements(), expected.out.elements()) << testing::PrintToString(c);
            EXPECT_EQ(t.lse.elements(), expected.lse.elements()) << testing::PrintToString(c);
        }
    }
}

TEST_P(OutOfBounds, Channel) {
    const auto s = channel_schedule(GetParam());
    for (const Place place : kPlaces) {
        for (const int64_t n : {int64_t(1), int64_t(5), int64_t(s.chunk_tokens), int64_t(s.chunk_tokens + 1)}) {
            for (const int64_t d : {int64_t(1), int64_t(3), int64_t(s.lanes), int64_t(s.lanes + 1),
                                    int64_t(s.block_rows() + 1), int64_t(s.tile_rows() + 1)}) {
                for (const bool normalize : {false, true}) {
                    for (const int64_t apart : distances(d)) {
                        ChannelCase c;
                        c.n = n, c.d = d, c.normalize = normalize;
                        const Shape shape{1, 1, n, d};
                        ChannelTensors t{Tensor(shape, place, apart), Tensor(shape, place, apart),
                                         Tensor(shape, place, apart), Tensor(shape, place, apart)};
                        t.q.fill_normal(1);
                        t.k.fill_normal(2);
                        t.v.fill_normal(3);
                        expect_agrees(c, t);
                    }
                }
            }
        }
    }
}

TEST_P(OutOfBounds, ChannelGradients) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "gradients are for processors";
    }
    const auto map = map_schedules(GetParam()).front();
    const auto product = product_schedules(GetParam()).front();
    for (const Place place : kPlaces) {
        for (const int64_t n : {1, 5, product.token_unroll + 1, map.chunk_tokens + 1}) {
            for (const int64_t d : {1, 3, map.lanes, map.lanes + 1, map.block() + 1, int(map.tile()) + 1}) {
                for (const int variant : {0, 1, 2, 3, 4}) {
                    ChannelGradientCase c;
                    c.n = n, c.d = d, c.normalize = variant % 2;
                    c.channels = variant < 2 || variant == 4 ? MUATTN_CHANNELS_LAST : MUATTN_CHANNELS_FIRST;
                    ChannelGradientTensors t = make_tensors(c);
                    Shape shape = t.d_out.shape();
                    for (Tensor *tensor :
                         {&t.forward.q, &t.forward.k, &t.forward.v, &t.d_out, &t.d_q, &t.d_k, &t.d_v}) {
                        *tensor = Tensor(shape, place, variant == 4 ? distances(d).back() : 0);
                    }
                    t.forward.q.fill_normal(1);
                    t.forward.k.fill_normal(2);
                    t.forward.v.fill_normal(3);
                    t.d_out.fill_normal(4);
                    for (Tensor *tensor : {&t.map, &t.attention_map, &t.d_attention_map}) {
                        *tensor = Tensor({1, 1, d, d}, place);
                    }
                    for (Tensor *tensor : {&t.q_squares, &t.k_squares}) {
                        *tensor = Tensor({1, 1, d, 1}, place);
                    }
                    for (const auto way : {ChannelGradientCase::whole, ChannelGradientCase::halves}) {
                        c.way = way;
                        expect_agrees(c, t);
                    }
                    if (!c.normalize) {
                        c.way = ChannelGradientCase::whole_with_map;
                        expect_agrees(c, t);
                    }
                    expect_halves_agree(c, t);
                }
            }
        }
    }
}

}  // namespace
}  // namespace muattn::test
