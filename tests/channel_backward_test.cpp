// Gradients of channel attention, whole and in halves: sizes, features in pairs, numerics.
#include <cmath>
#include <limits>
#include <random>

#include "support/backends.h"
#include "support/channel_gradients.h"
#include "support/pairwise.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

using Case = ChannelGradientCase;

class ChannelBackward : public OnEveryBackend {
protected:
    void SetUp() override {
        OnEveryBackend::SetUp();
        if (is_gpu(GetParam())) {
            GTEST_SKIP() << "gradients are for processors";
        }
    }
};
MUATTN_ON_EVERY_BACKEND(ChannelBackward);

Case sized(int64_t n, int64_t d) {
    Case c;
    c.n = n, c.d = d;
    return c;
}

void set_normalize(Case &c, bool normalize) {
    c.normalize = normalize;
    // With normalised channels logits are bounded by the scale: the learned temperature.
    c.scale = normalize ? std::vector<float>(size_t(c.H), 5.0f) : std::vector<float>();
}

// Both layouts, with and without norms, in every way.
std::vector<Case> variants(Case c) {
    std::vector<Case> all;
    for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        c.channels = channels;
        for (const bool normalize : {false, true}) {
            set_normalize(c, normalize);
            for (const Case::Way way : {Case::whole, Case::whole_with_map, Case::halves}) {
                c.way = way;
                if (!normalize || way != Case::whole_with_map) {
                    all.push_back(c);
                }
            }
        }
    }
    return all;
}

void expect_all_agree(const Case &c) {
    for (const Case &variant : variants(c)) {
        expect_agrees(variant);
        if (variant.way == Case::halves) {
            expect_halves_agree(variant);
        }
    }
}

// One of the variants, another for each number.
void expect_one_agrees(const Case &c, int64_t number) {
    const std::vector<Case> all = variants(c);
    const Case &one = all[size_t(number) % all.size()];
    expect_agrees(one);
    if (one.way == Case::halves) {
        expect_halves_agree(one);
    }
}

TEST_P(ChannelBackward, SmallSizes) {
    for (int64_t n = 0; n <= 17; n++) {
        for (const int64_t d : up_to(17)) {
            for (int64_t number = n + d; number < n + d + 3; number++) {
                expect_one_agrees(sized(n, d), number);
            }
        }
    }
}

TEST_P(ChannelBackward, Primes) {
    const int64_t primes[] = {19, 23, 29, 31, 37, 41,  43,  47,  53,  59,  61,  67, 71,
                              73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131};
    for (size_t i = 0; i < std::size(primes); i++) {
        expect_one_agrees(sized(primes[i], primes[(i * 7 + 3) % std::size(primes)]), int64_t(i));
    }
}

TEST_P(ChannelBackward, ChannelsAroundTiles) {
    std::vector<int64_t> edges;
    for (const auto &s : map_schedules(GetParam())) {
        edges.insert(edges.end(),
                     {s.lanes, s.block(), 2 * s.block(), 2 * s.column_group, s.tile(), s.tile() + s.block()});
    }
    for (const auto &s : product_schedules(GetParam())) {
        edges.insert(edges.end(), {s.block(), s.block_columns, 2 * s.block_columns});
    }
    const auto first = map_first_schedule(GetParam());
    edges.insert(edges.end(),
                 {first.map_rows, first.map_columns, first.tile(), product_first_schedule(GetParam()).channel_group});
    edges.push_back(map_rows_schedule(GetParam()).tile_rows);
    for (const int64_t d : around(edges)) {
        if (d <= MUATTN_MAX_D) {
            for (const int64_t n : {1, 11}) {
                expect_one_agrees(sized(n, d), n + d);
                expect_one_agrees(sized(n, d), n + d + 3);
            }
        }
    }
}

TEST_P(ChannelBackward, TokensAroundTiles) {
    std::vector<int64_t> edges;
    const auto map = map_schedules(GetParam()).front();
    const auto product = product_schedules(GetParam()).front();
    edges.insert(edges.end(), {map.chunk_tokens, 2 * map.chunk_tokens, product.token_unroll, product.tile_tokens,
                               2 * product.tile_tokens});
    const auto first_map = map_first_schedule(GetParam());
    const auto first_product = product_first_schedule(GetParam());
    edges.insert(edges.end(),
                 {first_map.lanes, first_map.chunk_tokens, first_product.group(), first_product.tile_tokens});
    for (const int64_t n : around(edges)) {
        for (const int64_t d : {1, 5, 33}) {
            expect_one_agrees(sized(n, d), n);
            expect_one_agrees(sized(n, d), n + 2);
            expect_one_agrees(sized(n, d), n + 7);
        }
    }
}

TEST_P(ChannelBackward, SpansOfTokens) {
    for (const int64_t n : {2047, 2048, 5001}) {
        Case c = sized(n, 20);
        c.B = 2;
        expect_all_agree(c);
    }
}

TEST_P(ChannelBackward, LargeHeadDimensions) {
    expect_one_agrees(sized(9, 256), 0);
    expect_one_agrees(sized(5, 509), 7);
    expect_one_agrees(sized(3, 1024), 3);
    expect_one_agrees(sized(2, 1023), 9);
}

TEST_P(ChannelBackward, FeaturesInPairs) {
    static const Layout kLayouts[] = {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()};
    static const int64_t kSizes[][4] = {{2, 3, 37, 21}, {1, 2, 130, 32}, {3, 1, 5, 64}, {1, 1, 70, 130}, {2, 1, 0, 6}};
    // Sizes, layout of channels, norms, way, what is wanted, scale, multiplier, strides, tokens.
    for (const auto &row : pairwise({5, 2, 2, 3, 7, 3, 4, 6, 2})) {
        Case c;
        const auto &size = kSizes[row[0]];
        c.B = size[0], c.H = size[1], c.n = size[2], c.d = size[3];
        c.channels = row[1] == 0 ? MUATTN_CHANNELS_LAST : MUATTN_CHANNELS_FIRST;
        c.normalize = row[2];
        c.way = c.normalize && row[3] == 1 ? Case::whole : Case::Way(row[3]);
        if (row[4] != 0) {  // one of them, or all but d_v
            const bool all = row[4] == 6;
            c.d_q = all || row[4] == 1, c.d_k = all || row[4] == 2, c.d_v = row[4] == 3;
            c.d_scale = all || row[4] == 4, c.d_output_multiplier = all || row[4] == 5;
        }
        for (int64_t h = 0; row[5] != 0 && h < (row[5] == 1 ? 1 : c.H); h++) {
            c.scale.push_back(h == 1 ? 0.0f : 0.4f + float(h));
        }
        if (row[6] == 1 || row[6] == 2) {
            c.output_multiplier = {row[6] == 1 ? -1.5f : 0.0f};
        } else if (row[6] == 3) {
            c.scaling = MUATTN_SCALING_MUP, c.d_base = 16;
        }
        c.layout = kLayouts[row[7]];
        c.tokens = row[8] * 1000;
        const ChannelGradientTensors t = make_tensors(c);
        expect_agrees(c, t);
        if (c.way == Case::halves) {
            expect_halves_agree(c, t);
        }
    }
}

// Nobody wants anything: a call that does nothing.
TEST_P(ChannelBackward, NothingWanted) {
    Case c = sized(9, 7);
    c.d_q = c.d_k = c.d_v = c.d_scale = c.d_output_multiplier = false;
    for (const Case &variant : variants(c)) {
        const ChannelGradientTensors t = make_tensors(variant);
        expect_agrees(variant, t);
    }
}

TEST_P(ChannelBackward, EmptyBatches) {
    for (const auto &[B, H] : {std::pair{0, 2}, {2, 0}}) {
        for (const Case &variant : variants(sized(9, 7))) {
            Case c = variant;
            c.B = B, c.H = H;
            c.scale.assign(c.scale.empty() ? 0 : 1, 5.0f);
            expect_agrees(c);
        }
    }
}

// What the first half of the backward pass gives together, it gives alone, bit for bit; or nothing.
TEST_P(ChannelBackward, ApplyBackwardsForOneOfBoth) {
    for (const bool normalize : {false, true}) {
        Case c = sized(50, 19);
        set_normalize(c, normalize);
        const ChannelGradientTensors both = make_tensors(c), alone = make_tensors(c);
        ASSERT_EQ(run_halves(c, both), MUATTN_OK) << muattn_last_error();
        const muattn_tensor map = both.map.view(), v = both.forward.v.view(), d_out = both.d_out.view(),
                            q_squares = both.q_squares.view(), k_squares = both.k_squares.view();
        const muattn_channel_options options = c.options();
        const auto apply_backward = [&](const Tensor *d_map, const Tensor *d_v) {
            const muattn_tensor to_map = (d_map != nullptr ? *d_map : both.map).view(),
                                to_v = (d_v != nullptr ? *d_v : both.forward.v).view();
            return muattn_channel_apply_backward(
                &map, normalize ? &q_squares : nullptr, normalize ? &k_squares : nullptr, &v, &d_out, &options,
                d_map != nullptr ? &to_map : nullptr, d_v != nullptr ? &to_v : nullptr);
        };
        ASSERT_EQ(apply_backward(&both.d_attention_map, &both.d_v), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(apply_backward(&alone.d_attention_map, nullptr), MUATTN_OK) << muattn_last_error();
        ASSERT_EQ(apply_backward(nullptr, &alone.d_v), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(alone.d_attention_map.elements(), both.d_attention_map.elements());
        EXPECT_EQ(alone.d_v.elements(), both.d_v.elements());
        EXPECT_EQ(apply_backward(nullptr, nullptr), MUATTN_OK) << muattn_last_error();
    }
}

// Halves over two sets of tokens, each with the other's part of the maps.
TEST_P(ChannelBackward, TokensOnTwoMachines) {
    for (const bool normalize : {false, true}) {
        for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
            Case all = sized(50, 19);
            all.B = 2, all.H = 2, all.channels = channels;
            set_normalize(all, normalize);
            const ChannelGradientTensors whole = make_tensors(all);
            expect_agrees(all, whole);
            // The same tensors, cut.
            const int64_t cut = 17;
            const int n_dim = channels == MUATTN_CHANNELS_FIRST ? 3 : 2;
            const auto piece = [&](const Tensor &tensor, int machine) {
                muattn_tensor view = tensor.view();
                const int64_t row = view.strides[2] != 0 ? view.strides[2] : view.shape[3];
                if (view.strides[3] == 0) {
                    view.strides[3] = 1, view.strides[2] = row;
                    view.strides[1] = view.shape[2] * row, view.strides[0] = view.shape[1] * view.strides[1];
                }
                view.data = static_cast<float *>(view.data) + (machine == 0 ? 0 : cut * view.strides[n_dim]);
                view.shape[n_dim] = machine == 0 ? cut : all.n - cut;
                return view;
            };
            const ChannelGradientTensors parts[] = {make_tensors(all), make_tensors(all)};
            const Tensor out(whole.forward.out.shape(), dense()), d_q(out.shape(), dense()), d_k(out.shape(), dense()),
                d_v(out.shape(), dense());
            muattn_channel_options options = all.options();
            options.tokens = all.n;
            muattn_tensor map[2], q_squares[2], k_squares[2], d_map[2];
            for (int m = 0; m < 2; m++) {
                map[m] = parts[m].map.view(), d_map[m] = parts[m].d_attention_map.view();
                q_squares[m] = parts[m].q_squares.view(), k_squares[m] = parts[m].k_squares.view();
                const muattn_tensor q = piece(whole.forward.q, m), k = piece(whole.forward.k, m);
                ASSERT_EQ(muattn_channel_map(&q, &k, &options, &map[m], normalize ? &q_squares[m] : nullptr,
                                             normalize ? &k_squares[m] : nullptr),
                          MUATTN_OK)
                    << muattn_last_error();
            }
            const auto add_up = [](const Tensor &a, const Tensor &b) {
                for (int64_t i = 0; i < int64_t(a.elements().size()); i++) {
                    const int64_t columns = a.size(3), rows = a.size(2), heads = a.size(1);
                    const int64_t place[] = {i / columns / rows / heads, i / columns / rows % heads, i / columns % rows,
                                             i % columns};
                    float &x = a.at(place[0], place[1], place[2], place[3]);
                    x += b.at(place[0], place[1], place[2], place[3]);
                }
            };
            add_up(parts[0].map, parts[1].map);
            if (normalize) {
                add_up(parts[0].q_squares, parts[1].q_squares);
                add_up(parts[0].k_squares, parts[1].k_squares);
            }
            const muattn_tensor *const of_q = normalize ? &q_squares[0] : nullptr, *const of_k = normalize
                                                                                                     ? &k_squares[0]
                                                                                                     : nullptr;
            for (int m = 0; m < 2; m++) {
                const muattn_tensor v = piece(whole.forward.v, m), d_out = piece(whole.d_out, m),
                                    d_v_part = piece(d_v, m), out_part = piece(out, m);
                ASSERT_EQ(muattn_channel_apply(&map[0], of_q, of_k, &v, &options, &out_part, nullptr), MUATTN_OK);
                ASSERT_EQ(
                    muattn_channel_apply_backward(&map[0], of_q, of_k, &v, &d_out, &options, &d_map[m], &d_v_part),
                    MUATTN_OK)
                    << muattn_last_error();
            }
            add_up(parts[0].d_attention_map, parts[1].d_attention_map);
            for (int m = 0; m < 2; m++) {
                const muattn_tensor q = piece(whole.forward.q, m), k = piece(whole.forward.k, m),
                                    d_q_part = piece(d_q, m), d_k_part = piece(d_k, m);
                float d_scale[2], d_multiplier = 0;
                const muattn_channel_gradients gradients{&d_q_part, &d_k_part, nullptr, d_scale, &d_multiplier};
                ASSERT_EQ(muattn_channel_map_backward(&q, &k, &map[0], of_q, of_k, &d_map[0], &options, &gradients),
                          MUATTN_OK)
                    << muattn_last_error();
                for (int h = 0; h < 2; h++) {
                    EXPECT_NEAR(d_scale[h], (*whole.d_scale)[size_t(h)], 1e-4);
                }
                EXPECT_NEAR(d_multiplier, whole.d_output_multiplier->front(), 1e-3);
            }
            ASSERT_EQ(run(static_cast<const ChannelCase &>(all), whole.forward), MUATTN_OK);
            const std::pair<const Tensor *, const Tensor *> pairs[] = {
                {&out, &whole.forward.out}, {&d_q, &whole.d_q}, {&d_k, &whole.d_k}, {&d_v, &whole.d_v}};
            for (const auto &[got, want] : pairs) {
                const std::vector<float> g = got->elements(), w = want->elements();
                for (size_t i = 0; i < g.size(); i++) {
                    ASSERT_NEAR(g[i], w[i], 2e-5) << "normalize " << normalize << " channels " << channels;
                }
            }
        }
    }
}

// Channels without length, of the smallest, and of none at all.
TEST_P(ChannelBackward, ShortChannels) {
    for (const Case &c : variants(sized(40, 12))) {
        for (const float factor : {0.0f, 1e-14f, 1e-11f}) {
            const ChannelGradientTensors t = make_tensors(c);
            const bool first = c.channels == MUATTN_CHANNELS_FIRST;
            for (int64_t u = 0; u < c.n; u++) {
                (first ? t.forward.q.swapped() : t.forward.q).at(0, 0, u, 3) *= factor;
                (first ? t.forward.k.swapped() : t.forward.k).at(0, 0, u, 5) *= factor;
            }
            expect_agrees(c, t);
        }
    }
}

TEST_P(ChannelBackward, NumbersThatAreNone) {
    for (const Case &c : variants(sized(20, 18))) {
        for (const int which : {0, 1, 2, 3}) {
            const ChannelGradientTensors t = make_tensors(c);
            const Tensor *const inputs[] = {&t.forward.q, &t.forward.k, &t.forward.v, &t.d_out};
            inputs[which]->at(0, 0, 7, 5) = std::numeric_limits<float>::quiet_NaN();
            expect_agrees(c, t);
        }
    }
}

TEST_P(ChannelBackward, LargeAndSmallNumbers) {
    for (const double amplitude : {1e-6, 30.0, 1e4}) {
        for (Case c : variants(sized(33, 20))) {
            c.amplitude = amplitude;
            expect_agrees(c);
        }
    }
}

class ChannelBackwardSweep : public ChannelBackward {};
MUATTN_ON_EVERY_BACKEND(ChannelBackwardSweep);

TEST_P(ChannelBackwardSweep, AMillionTokens) {
    for (const Case &c : variants(sized(1000000, 3))) {
        if (c.way != Case::whole_with_map) {
            expect_agrees(c);
        }
    }
}

TEST_P(ChannelBackwardSweep, EveryHeadDimension) {
    for (const int64_t d : up_to(200)) {
        expect_one_agrees(sized(7, d), d);
        expect_one_agrees(sized(7, d), d + 5);
    }
}

TEST_P(ChannelBackwardSweep, EveryTokenCount) {
    for (const int64_t n : up_to(400)) {
        expect_one_agrees(sized(n, 9), n);
        expect_one_agrees(sized(n, 9), n + 5);
    }
}

}  // namespace
}  // namespace muattn::test
