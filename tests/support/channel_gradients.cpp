#include "support/channel_gradients.h"

#include <cmath>
#include <limits>
#include <ostream>

#include "reference/channel_backward.h"
#include "reference/channel_forward.h"
#include "reference/channel_map.h"
#include "reference/softmax.h"
#include "support/backends.h"
#include "support/channel_gradient_bounds.h"
#include "support/compare.h"

namespace muattn::test {
namespace {

const muattn_tensor *pointer(const muattn_tensor &tensor, bool given = true) { return given ? &tensor : nullptr; }

void expect_untouched(const WriteWatch &watch, bool wanted, const char *name) {
    EXPECT_EQ(wanted ? watch.changes_outside() : watch.changes(), 0)
        << (wanted ? "writes next to elements of " : "writes to unwanted ") << name;
}

}  // namespace

std::ostream &operator<<(std::ostream &out, const ChannelGradientCase &c) {
    static constexpr const char *kWays[] = {"whole", "whole_with_map", "halves"};
    return out << static_cast<const ChannelCase &>(c) << " way=" << kWays[c.way] << " wanted=" << c.d_q << c.d_k
               << c.d_v << c.d_scale << c.d_output_multiplier << " tokens=" << c.tokens;
}

void ChannelGradientTensors::reset() const {
    for (const Tensor *tensor : outputs()) {
        tensor->fill(untouched());
    }
    d_scale->assign(d_scale->size(), untouched());
    d_output_multiplier->assign(1, untouched());
}

ChannelGradientTensors make_tensors(const ChannelGradientCase &c) {
    ChannelGradientTensors t;
    t.forward = make_tensors(static_cast<const ChannelCase &>(c));
    const Shape &shape = t.forward.q.shape();
    t.d_out = Tensor(shape, c.layout);
    t.d_out.fill_normal(4, c.amplitude);
    const Layout layout = for_output(c.layout);
    for (Tensor *gradient : {&t.d_q, &t.d_k, &t.d_v}) {
        *gradient = Tensor(shape, layout);
    }
    for (Tensor *map : {&t.map, &t.attention_map, &t.d_attention_map}) {
        *map = Tensor({c.B, c.H, c.d, c.d}, layout);
    }
    for (Tensor *squares : {&t.q_squares, &t.k_squares}) {
        *squares = Tensor({c.B, c.H, c.d, 1}, layout);
    }
    t.d_scale = std::make_shared<std::vector<float>>(size_t(c.H), untouched());
    t.d_output_multiplier = std::make_shared<std::vector<float>>(1, untouched());
    return t;
}

muattn_status run_halves(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    const muattn_channel_options options = c.options();
    const muattn_tensor q = t.forward.q.view(), k = t.forward.k.view(), v = t.forward.v.view(),
                        out = t.forward.out.view(), map = t.map.view(), q_squares = t.q_squares.view(),
                        k_squares = t.k_squares.view(), attention_map = t.attention_map.view();
    const bool norms = c.normalize != 0;
    const muattn_status status =
        muattn_channel_map(&q, &k, &options, &map, pointer(q_squares, norms), pointer(k_squares, norms));
    return status != MUATTN_OK ? status
                               : muattn_channel_apply(&map, pointer(q_squares, norms), pointer(k_squares, norms), &v,
                                                      &options, &out, &attention_map);
}

muattn_status run(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    const muattn_channel_options options = c.options();
    const muattn_tensor q = t.forward.q.view(), k = t.forward.k.view(), v = t.forward.v.view(), d_out = t.d_out.view(),
                        map = t.map.view(), q_squares = t.q_squares.view(), k_squares = t.k_squares.view(),
                        attention_map = t.attention_map.view(), d_attention_map = t.d_attention_map.view(),
                        d_q = t.d_q.view(), d_k = t.d_k.view(), d_v = t.d_v.view();
    muattn_channel_gradients gradients{};
    gradients.d_q = pointer(d_q, c.d_q);
    gradients.d_k = pointer(d_k, c.d_k);
    gradients.d_scale = c.d_scale ? t.d_scale->data() : nullptr;
    gradients.d_output_multiplier = c.d_output_multiplier ? t.d_output_multiplier->data() : nullptr;
    if (c.way != ChannelGradientCase::halves) {
        gradients.d_v = pointer(d_v, c.d_v);
        const bool with_map = c.way == ChannelGradientCase::whole_with_map;
        const muattn_status status = with_map ? run_halves(c, t) : MUATTN_OK;
        return status != MUATTN_OK ? status
                                   : muattn_channel_attention_backward(
                                         &q, &k, &v, &d_out, pointer(attention_map, with_map), &options, &gradients);
    }
    const muattn_tensor *const of_q = pointer(q_squares, c.normalize != 0), *const of_k =
                                                                                pointer(k_squares, c.normalize != 0);
    muattn_status status = muattn_channel_map(&q, &k, &options, &map, of_q, of_k);
    if (status == MUATTN_OK) {
        status = muattn_channel_apply_backward(&map, of_q, of_k, &v, &d_out, &options, &d_attention_map,
                                               pointer(d_v, c.d_v));
    }
    return status != MUATTN_OK
               ? status
               : muattn_channel_map_backward(&q, &k, &map, of_q, of_k, &d_attention_map, &options, &gradients);
}

void expect_agrees(const ChannelGradientCase &c, const ChannelGradientTensors &t, const Instead &instead) {
    SCOPED_TRACE(testing::PrintToString(c));
    t.reset();
    const WriteWatch watch_q(t.d_q), watch_k(t.d_k), watch_v(t.d_v);
    const WriteWatch inputs[] = {WriteWatch(t.forward.q), WriteWatch(t.forward.k), WriteWatch(t.forward.v),
                                 WriteWatch(t.d_out)};
    const bool of_map = c.d_q || c.d_k || c.d_scale || c.d_output_multiplier;
    if (instead) {
        ASSERT_EQ(instead(), MUATTN_OK);
    } else {
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    }
    if (!instead && c.B * c.H > 0 && (of_map || (c.d_v && c.way != ChannelGradientCase::halves))) {
        expect_current_backend_ran(
            {&t.forward.q, &t.forward.k, &t.forward.v, &t.d_out, &t.d_q, &t.d_k, &t.d_v, &t.map});
    }
    for (const WriteWatch &input : inputs) {
        EXPECT_EQ(input.changes(), 0) << "writes to an input";
    }
    const std::vector<reference::ChannelGradients> heads = reference::channel_attention_backward(
        t.forward.q.view(), t.forward.k.view(), t.forward.v.view(), c.options(), t.d_out.view());
    const std::vector<ChannelGradientBounds> bounds = bounds_of(c, t);
    const struct {
        const char *name;
        bool wanted;
        const Tensor &tensor;
        const WriteWatch &watch;
        std::vector<double> reference::ChannelGradients::*values;
        double (ChannelGradientBounds::*allowed)(int64_t, int64_t) const;
    } gradients[] = {
        {"d_q", c.d_q, t.d_q, watch_q, &reference::ChannelGradients::q, &ChannelGradientBounds::of_q},
        {"d_k", c.d_k, t.d_k, watch_k, &reference::ChannelGradients::k, &ChannelGradientBounds::of_k},
        {"d_v", c.d_v, t.d_v, watch_v, &reference::ChannelGradients::v, &ChannelGradientBounds::of_v},
    };
    for (const auto &gradient : gradients) {
        expect_untouched(gradient.watch, gradient.wanted, gradient.name);
        if (!gradient.wanted) {
            continue;
        }
        const Tensor tokens_by_channels =
            c.channels == MUATTN_CHANNELS_FIRST ? gradient.tensor.swapped() : gradient.tensor;
        EXPECT_TRUE(agrees(tokens_by_channels,
                           [&](int64_t b, int64_t h, int64_t token, int64_t channel) {
                               const size_t head = size_t(b * c.H + h);
                               return bounds[head].at((heads[head].*gradient.values)[size_t(token * c.d + channel)],
                                                      (bounds[head].*gradient.allowed)(token, channel));
                           }))
            << "of " << gradient.name;
    }
    double multiplier = 0, multiplier_allowed = ChannelGradientBounds::kSmallest;
    for (int64_t h = 0; h < c.H; h++) {
        double scale = 0, scale_allowed = ChannelGradientBounds::kSmallest;
        for (int64_t b = 0; b < c.B; b++) {
            const size_t head = size_t(b * c.H + h);
            scale += heads[head].scale, scale_allowed += bounds[head].of_scale();
            multiplier += heads[head].output_multiplier, multiplier_allowed += bounds[head].of_multiplier();
        }
        const float got = (*t.d_scale)[size_t(h)];
        if (c.d_scale && !std::isnan(scale)) {
            EXPECT_NEAR(double(got), scale, scale_allowed + ChannelGradientBounds::kUnit * std::fabs(scale))
                << "of d_scale[" << h << "]";
        } else {
            EXPECT_EQ(is_untouched(got), !c.d_scale);
            EXPECT_TRUE(std::isnan(got));
        }
    }
    const float got = t.d_output_multiplier->front();
    if (c.d_output_multiplier && !std::isnan(multiplier)) {
        EXPECT_NEAR(double(got), multiplier, multiplier_allowed + ChannelGradientBounds::kUnit * std::fabs(multiplier))
            << "of d_output_multiplier";
    } else {
        EXPECT_EQ(is_untouched(got), !c.d_output_multiplier);
        EXPECT_TRUE(std::isnan(got));
    }
}

void expect_halves_agree(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    SCOPED_TRACE(testing::PrintToString(c));
    for (const Tensor *output : {&t.map, &t.attention_map, &t.forward.out, &t.q_squares, &t.k_squares}) {
        output->fill(untouched());
    }
    const WriteWatch watches[] = {WriteWatch(t.map), WriteWatch(t.attention_map), WriteWatch(t.forward.out),
                                  WriteWatch(t.q_squares), WriteWatch(t.k_squares)};
    ASSERT_EQ(run_halves(c, t), MUATTN_OK) << muattn_last_error();
    for (const WriteWatch &watch : watches) {
        EXPECT_EQ(watch.changes_outside(), 0);
    }
    const std::vector<ChannelGradientBounds> bounds = bounds_of(c, t);
    const auto head = [&](int64_t b, int64_t h) -> const ChannelGradientBounds & {
        return bounds[size_t(b * c.H + h)];
    };
    EXPECT_TRUE(agrees(t.map, [&](int64_t b, int64_t h, int64_t i, int64_t j) {
        const reference::Dot &dot = head(b, h).map[size_t(i)][size_t(j)];
        return head(b, h).at(dot.value, head(b, h).of_sum(dot.size));
    })) << "of map";
    EXPECT_TRUE(agrees(t.attention_map, [&](int64_t b, int64_t h, int64_t i, int64_t j) {
        const double weight = head(b, h).A[size_t(i)][size_t(j)];
        return head(b, h).at(weight, 2 * weight * head(b, h).weight[size_t(i)]);
    })) << "of attention_map";
    const std::vector<reference::ChannelHead> heads =
        reference::channel_attention_forward(t.forward.q.view(), t.forward.k.view(), t.forward.v.view(), c.options());
    const Tensor out = c.channels == MUATTN_CHANNELS_FIRST ? t.forward.out.swapped() : t.forward.out;
    EXPECT_TRUE(agrees(out, [&](int64_t b, int64_t h, int64_t token, int64_t channel) {
        const reference::ChannelHead &r = heads[size_t(b * c.H + h)];
        return Expected{r.out[size_t(token * c.d + channel)],
                        allowed_output_error(r.logit_size[size_t(channel)], r.value_size[size_t(token)], c.d)};
    })) << "of out";
    if (c.normalize) {
        for (const bool of_q : {true, false}) {
            EXPECT_TRUE(agrees(of_q ? t.q_squares : t.k_squares, [&](int64_t b, int64_t h, int64_t i, int64_t) {
                const double sum = (of_q ? head(b, h).q_squares : head(b, h).k_squares)[size_t(i)];
                return head(b, h).at(sum, head(b, h).of_sum(sum));
            })) << "of squares";
        }
    }
}

}  // namespace muattn::test
