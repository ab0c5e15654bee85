// muattn.hpp: the same calls with exceptions and views made from pointers.
#include "muattn/muattn.hpp"

#include <cmath>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

class CppLayer : public WithSettings {};

TEST_F(CppLayer, Spatial) {
    const std::vector<float> q(2 * 3 * 4, 0.5f), k(2 * 5 * 4, 0.25f), v(2 * 5 * 6, 3.0f);
    std::vector<float> out(2 * 3 * 6), lse(2 * 3);
    const muattn_tensor q_view = tensor(q.data(), {1, 2, 3, 4}), k_view = tensor(k.data(), {1, 2, 5, 4}),
                        v_view = tensor(v.data(), {1, 2, 5, 6});
    const muattn_tensor out_view = tensor(out.data(), {1, 2, 3, 6}), lse_view = tensor(lse.data(), {1, 2, 3, 1});
    SpatialOptions options{};
    options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    spatial_attention(q_view, k_view, v_view, out_view, options);
    EXPECT_EQ(out, std::vector<float>(out.size(), 3.0f));
    spatial_attention(q_view, k_view, v_view, out_view, lse_view, options);
    EXPECT_NEAR(lse[2], std::log(5.0) + 0.25, 1e-6);
}

// Keys and values in bfloat16 and in int8, which hold these numbers.
TEST_F(CppLayer, Caches) {
    const std::vector<float> q(2 * 3 * 4, 0.5f), scale(2 * 5, 0.125f);
    const std::vector<uint16_t> k(2 * 5 * 4, 0x3e80), v(2 * 5 * 6, 0x4040);  // 0.25, 3
    const std::vector<int8_t> k8(k.size(), 2), v8(v.size(), 24);
    const Shape of_k{1, 2, 5, 4}, of_v{1, 2, 5, 6}, of_out{1, 2, 3, 6};
    const muattn_tensor q_view = tensor(q.data(), {1, 2, 3, 4}), scale_view = tensor(scale.data(), {1, 2, 5, 1});
    std::vector<float> out(2 * 3 * 6), out8(out.size());
    spatial_attention(q_view, tensor(k.data(), MUATTN_BFLOAT16, of_k), tensor(v.data(), MUATTN_BFLOAT16, of_v),
                      tensor(out.data(), of_out));
    EXPECT_EQ(out, std::vector<float>(out.size(), 3.0f));
    SpatialOptions options{};
    options.k_scale = options.v_scale = &scale_view;
    spatial_attention(q_view, tensor(k8.data(), MUATTN_INT8, of_k), tensor(v8.data(), MUATTN_INT8, of_v),
                      tensor(out8.data(), of_out), options);
    EXPECT_EQ(out8, std::vector<float>(out.size(), 3.0f));
}

TEST_F(CppLayer, Channel) {
    const std::vector<float> x(2 * 3 * 4, 0.5f);
    std::vector<float> out(x.size());
    const Shape shape{1, 2, 3, 4};
    ChannelOptions options{};
    options.scaling = MUATTN_SCALING_MUP, options.d_base = 2;
    channel_attention(tensor(x.data(), shape), tensor(x.data(), shape), tensor(x.data(), shape),
                      tensor(out.data(), shape), options);
    EXPECT_EQ(out, std::vector<float>(out.size(), 0.25f));
}

// Of constant inputs, by the scale alone: softmax is 1/4 everywhere, and gradients by q and k are 0.
TEST_F(CppLayer, ChannelHalvesAndGradients) {
    const std::vector<float> x(2 * 3 * 4, 0.5f);
    const Shape shape{1, 2, 3, 4};
    const muattn_tensor x_view = tensor(x.data(), shape);
    std::vector<float> out(x.size()), map(2 * 4 * 4), attention_map(map.size()), d_map(map.size()), squares(2 * 4);
    const muattn_tensor out_view = tensor(out.data(), shape), map_view = tensor(map.data(), {1, 2, 4, 4}),
                        attention_view = tensor(attention_map.data(), {1, 2, 4, 4}),
                        d_map_view = tensor(d_map.data(), {1, 2, 4, 4}),
                        squares_view = tensor(squares.data(), {1, 2, 4, 1});
    channel_map(x_view, x_view, map_view);
    EXPECT_EQ(map, std::vector<float>(map.size(), 0.75f));
    channel_apply(map_view, x_view, out_view, {}, {}, &attention_view);
    EXPECT_EQ(out, x);
    EXPECT_EQ(attention_map, std::vector<float>(map.size(), 0.25f));

    std::vector<float> d_q(x.size(), 9.0f), d_k = d_q, d_v = d_q;
    const muattn_tensor d_q_view = tensor(d_q.data(), shape), d_k_view = tensor(d_k.data(), shape),
                        d_v_view = tensor(d_v.data(), shape);
    const std::vector<float> zeros(x.size());
    float multiplier = 0;
    const ChannelGradients gradients{&d_q_view, &d_k_view, &d_v_view, nullptr, &multiplier};
    channel_attention_backward(x_view, x_view, x_view, x_view, gradients, {}, &attention_view);
    EXPECT_EQ(d_q, zeros);
    EXPECT_EQ(d_k, zeros);
    EXPECT_EQ(d_v, x);
    EXPECT_FLOAT_EQ(multiplier, 6.0f);

    ChannelOptions options{};
    const float scale = 2;
    options.normalize = 1, options.scale = &scale, options.scale_count = 1;
    std::vector<float> k_squares(squares.size());
    const muattn_tensor k_squares_view = tensor(k_squares.data(), {1, 2, 4, 1});
    const ChannelSquares both{&squares_view, &k_squares_view};
    channel_map(x_view, x_view, map_view, options, both);
    EXPECT_EQ(squares, std::vector<float>(squares.size(), 0.75f));
    channel_apply_backward(map_view, x_view, x_view, d_map_view, &d_v_view, options, both);
    EXPECT_EQ(d_v, x);
    const ChannelGradients of_map{&d_q_view, &d_k_view, nullptr, nullptr, nullptr};
    channel_map_backward(x_view, x_view, map_view, d_map_view, of_map, options, both);
    EXPECT_EQ(d_q, zeros);
}

// Of right and wrong arguments; nothing is written.
TEST_F(CppLayer, Checks) {
    const std::vector<float> x(2 * 3 * 4, 0.5f), rows(2 * 3);
    std::vector<float> y(x.size(), 7), other(x.size(), 7);
    const Shape shape{1, 2, 3, 4};
    const muattn_tensor in = tensor(x.data(), shape), out = tensor(y.data(), shape),
                        wrong = tensor(y.data(), {1, 2, 3, 5}), lse = tensor(rows.data(), {1, 2, 3, 1}),
                        d_q = tensor(other.data(), shape);
    check_spatial_attention(in, in, in, out);
    check_spatial_attention(in, in, in, out, lse);
    EXPECT_THROW(check_spatial_attention(in, in, in, wrong), Error);
    EXPECT_THROW(check_spatial_attention(in, in, in, out, out), Error);
    SpatialGradients gradients{};
    gradients.d_q = &d_q;
    check_spatial_attention_backward(in, in, in, out, lse, in, gradients);
    EXPECT_THROW(check_spatial_attention_backward(in, in, in, out, lse, wrong, gradients), Error);
    check_channel_attention(in, in, in, out);
    EXPECT_THROW(check_channel_attention(in, in, in, wrong), Error);
    ChannelGradients of_channel{};
    of_channel.d_k = &d_q;
    check_channel_attention_backward(in, in, in, in, of_channel);
    EXPECT_THROW(check_channel_attention_backward(in, in, in, wrong, of_channel), Error);
    EXPECT_EQ(y, std::vector<float>(y.size(), 7));
    EXPECT_EQ(other, y);
}

TEST_F(CppLayer, Conversions) {
    const std::vector<float> x{1, -2, 0.5f, 3};
    std::vector<uint16_t> bits(4);
    std::vector<float> back(4);
    const Shape shape{1, 2, 1, 2};
    convert(tensor(x.data(), shape), tensor(bits.data(), MUATTN_BFLOAT16, shape));
    EXPECT_EQ(bits, (std::vector<uint16_t>{0x3f80, 0xc000, 0x3f00, 0x4040}));
    convert(tensor(bits.data(), MUATTN_BFLOAT16, shape), tensor(back.data(), shape));
    EXPECT_EQ(back, x);
    EXPECT_THROW(convert(tensor(x.data(), shape), tensor(back.data(), {1, 1, 1, 4})), Error);
}

TEST_F(CppLayer, ErrorsAreExceptions) {
    const float x = 1;
    float out = 0;
    const Shape one{1, 1, 1, 1};
    try {
        spatial_attention(tensor(&x, one), tensor(nullptr, one), tensor(&x, one), tensor(&out, one));
        FAIL() << "no exception";
    } catch (const Error &error) {
        EXPECT_EQ(error.status(), MUATTN_INVALID_K);
        EXPECT_STREQ(error.what(), "k.data must not be null, unless a size is 0");
    }
    EXPECT_THROW(channel_output_multiplier(MUATTN_SCALING_MUP, 8), Error);
    EXPECT_THROW(force_backend("none"), Error);
    EXPECT_THROW(set_num_threads(0), Error);
}

TEST_F(CppLayer, ScaleRules) {
    EXPECT_EQ(spatial_scale(MUATTN_SCALING_MUP, 256, 64), 8.0 / 256);
    SpatialOptions options{};
    options.scaling = MUATTN_SCALING_UMUP, options.alpha = 4;
    const SpatialRule rule = spatial_rule(options, 4, 16);
    EXPECT_EQ(rule.scale, 1);
    EXPECT_DOUBLE_EQ(rule.output_multiplier, 2);
    options.power = 2;
    EXPECT_THROW(spatial_rule(options, 4, 16), Error);
    EXPECT_EQ(channel_scale(MUATTN_SCALING_SP, 16), 0.25);
    EXPECT_EQ(channel_output_multiplier(MUATTN_SCALING_MUP, 256, 64), 0.25);
}

TEST_F(CppLayer, Backends) {
    const std::vector<Backend> all = backends();
    ASSERT_EQ(int(all.size()), muattn_backend_count());
    for (const Backend &backend : all) {
        if (backend.available) {
            force_backend(backend.name);
            EXPECT_EQ(muattn_current_backend(), backend.name);
        }
    }
    force_backend("");
}

}  // namespace
}  // namespace muattn::test
