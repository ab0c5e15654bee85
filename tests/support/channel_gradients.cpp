// The bounds. With u = 2^-23, for a row i of the map:
//   - A weight A_ij is wrong by 2 w_i A_ij (compare.h): by its own power of two, and by those of the row's sum. Norms round logits as much
//     as their products do.
//   - A sum of products over tokens, S_ij = sum_t x_ti y_tj or m_ij = sum_t d_out_ti V_tj, is wrong by u times the sum of their magnitudes,
//     S'_ij or m'_ij; by itself, not under a softmax or a sum, by u (1 + sqrt(n) / 2) times that.
//   - So D_i = sum_j A_ij m_ij is wrong by 2 (w_i + u) M_i with M_i = sum_j A_ij m'_ij, and dz_ij = o A_ij (m_ij - D_i) by 2 (w_i + u) Z_ij
//     with Z_ij = |o| A_ij (m'_ij + 2 M_i): its factors A, m and D each may be.
//   - What is a sum over dz may be wrong by the same sum of magnitudes over 2 (w_i + u) Z_ij: d_q_ti = s sum_j dz_ij y_tj, d_k, and
//     sum_ij dz_ij S_ij; through the norms also x_ti sum_j dz_ij S_ij. d_v_tj = o sum_i d_out_ti A_ij has 2 w_i A_ij instead.
// Roundings of either sign cancel in these sums, so that results stay far below: gradients of 64 channels reach a tenth.
#include "support/channel_gradients.h"

#include <cmath>
#include <limits>
#include <ostream>

#include "reference/channel_backward.h"
#include "reference/channel_forward.h"
#include "reference/channel_map.h"
#include "reference/softmax.h"
#include "support/backends.h"
#include "support/compare.h"

namespace muattn::test {
namespace {

using reference::ChannelMatrix;
using reference::Dot;

constexpr double kUnit = 0x1p-23;
constexpr double kSmallest = std::numeric_limits<float>::denorm_min();

// Of one head: maps, and how far results may be off.
struct Bounds {
    ChannelMatrix x, y, v, d_out;
    std::vector<double> q_lengths, k_lengths;
    std::vector<double> q_squares, k_squares;
    std::vector<std::vector<Dot>> map, d_map;  // by rows; map before norms
    std::vector<std::vector<double>> A, Z;     // Z times 2 (w_i + u)
    std::vector<std::vector<double>> S_size;   // of normalised channels
    std::vector<double> weight;                // w_i
    double scale, multiplier;

    Bounds(const ChannelGradientCase &c, const ChannelGradientTensors &t, int64_t b, int64_t h);

    int64_t d() const { return x.d; }
    Expected at(double value, double allowed) const { return {value, allowed + double(d() + x.n) * kSmallest}; }
    double of_sum(double size) const { return kUnit * (1 + std::sqrt(double(x.n)) / 2) * size; }  // over tokens
    double of_q(int64_t token, int64_t i) const;
    double of_k(int64_t token, int64_t j) const;
    double of_v(int64_t token, int64_t j) const;
    double of_scale() const;
    double of_multiplier() const;

private:
    void divide(ChannelMatrix &matrix, const std::vector<double> &lengths) const;
};

std::vector<double> squares_of(const ChannelMatrix &matrix) {
    std::vector<double> sums(static_cast<size_t>(matrix.d));
    for (int64_t t = 0; t < matrix.n; t++) {
        for (int64_t i = 0; i < matrix.d; i++) {
            sums[size_t(i)] += matrix.at(t, i) * matrix.at(t, i);
        }
    }
    return sums;
}

Bounds::Bounds(const ChannelGradientCase &c, const ChannelGradientTensors &t, int64_t b, int64_t h)
    : x(t.forward.q.view(), c.channels, b, h),
      y(t.forward.k.view(), c.channels, b, h),
      v(t.forward.v.view(), c.channels, b, h),
      d_out(t.d_out.view(), c.channels, b, h),
      q_lengths(c.normalize ? x.lengths() : std::vector<double>(size_t(c.d), 1.0)),
      k_lengths(c.normalize ? y.lengths() : std::vector<double>(size_t(c.d), 1.0)),
      q_squares(squares_of(x)),
      k_squares(squares_of(y)) {
    const muattn_channel_options options = c.options();
    scale = reference::channel_scale(options, c.n, h);
    multiplier = reference::channel_multiplier(options, c.d);
    for (int64_t i = 0; i < c.d; i++) {
        map.push_back(reference::map_row(x, y, i));
        d_map.push_back(reference::map_row(d_out, v, i));
        std::vector<Dot> row = map.back();
        reference::normalize(row, q_lengths[size_t(i)], k_lengths);
        std::vector<double> logits, sizes, weights, errors;
        double logit_size = 0, mean_size = 0;
        for (const Dot &dot : row) {
            logits.push_back(scale * dot.value);
            sizes.push_back(dot.size);
            reference::grow(logit_size, scale * dot.size);
        }
        const reference::Softmax softmax(logits);
        for (int64_t j = 0; j < c.d; j++) {
            weights.push_back(softmax.normalized(softmax.weights[size_t(j)]));
            mean_size += weights.back() * d_map.back()[size_t(j)].size;
        }
        weight.push_back(relative_weight_error(logit_size * (c.normalize ? 2 : 1), c.d));
        for (int64_t j = 0; j < c.d; j++) {
            const double z =
                std::fabs(multiplier) * weights[size_t(j)] * (d_map.back()[size_t(j)].size + 2 * mean_size);
            errors.push_back(2 * (weight.back() + kUnit) * z);
        }
        A.push_back(weights);
        Z.push_back(errors);
        S_size.push_back(sizes);
    }
    divide(x, q_lengths);
    divide(y, k_lengths);
}

void Bounds::divide(ChannelMatrix &matrix, const std::vector<double> &lengths) const {
    for (size_t place = 0; place < matrix.numbers.size(); place++) {
        matrix.numbers[place] /= lengths[place % size_t(matrix.d)];
    }
}

double Bounds::of_q(int64_t token, int64_t i) const {
    double sum = 0;
    for (int64_t j = 0; j < d(); j++) {
        sum += Z[size_t(i)][size_t(j)] *
               (std::fabs(y.at(token, j)) + std::fabs(x.at(token, i)) * S_size[size_t(i)][size_t(j)]);
    }
    return std::fabs(scale) * sum / q_lengths[size_t(i)];
}

double Bounds::of_k(int64_t token, int64_t j) const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        sum += Z[size_t(i)][size_t(j)] *
               (std::fabs(x.at(token, i)) + std::fabs(y.at(token, j)) * S_size[size_t(i)][size_t(j)]);
    }
    return std::fabs(scale) * sum / k_lengths[size_t(j)];
}

double Bounds::of_v(int64_t token, int64_t j) const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        sum += 2 * weight[size_t(i)] * A[size_t(i)][size_t(j)] * std::fabs(d_out.at(token, i));
    }
    return std::fabs(multiplier) * sum;
}

double Bounds::of_scale() const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        for (int64_t j = 0; j < d(); j++) {
            sum += Z[size_t(i)][size_t(j)] * S_size[size_t(i)][size_t(j)];
        }
    }
    return sum;
}

double Bounds::of_multiplier() const {
    double sum = 0;
    for (int64_t i = 0; i < d(); i++) {
        for (int64_t j = 0; j < d(); j++) {
            sum += 2 * (weight[size_t(i)] + kUnit) * A[size_t(i)][size_t(j)] * d_map[size_t(i)][size_t(j)].size;
        }
    }
    return sum;
}

std::vector<Bounds> bounds_of(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    std::vector<Bounds> heads;
    for (int64_t b = 0; b < c.B; b++) {
        for (int64_t h = 0; h < c.H; h++) {
            heads.emplace_back(c, t, b, h);
        }
    }
    return heads;
}

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

void expect_agrees(const ChannelGradientCase &c, const ChannelGradientTensors &t) {
    SCOPED_TRACE(testing::PrintToString(c));
    t.reset();
    const WriteWatch watch_q(t.d_q), watch_k(t.d_k), watch_v(t.d_v);
    const WriteWatch inputs[] = {WriteWatch(t.forward.q), WriteWatch(t.forward.k), WriteWatch(t.forward.v),
                                 WriteWatch(t.d_out)};
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    const bool of_map = c.d_q || c.d_k || c.d_scale || c.d_output_multiplier;
    if (c.B * c.H > 0 && (of_map || (c.d_v && c.way != ChannelGradientCase::halves))) {
        expect_current_backend_ran(
            {&t.forward.q, &t.forward.k, &t.forward.v, &t.d_out, &t.d_q, &t.d_k, &t.d_v, &t.map});
    }
    for (const WriteWatch &input : inputs) {
        EXPECT_EQ(input.changes(), 0) << "writes to an input";
    }
    const std::vector<reference::ChannelGradients> heads = reference::channel_attention_backward(
        t.forward.q.view(), t.forward.k.view(), t.forward.v.view(), c.options(), t.d_out.view());
    const std::vector<Bounds> bounds = bounds_of(c, t);
    const struct {
        const char *name;
        bool wanted;
        const Tensor &tensor;
        const WriteWatch &watch;
        std::vector<double> reference::ChannelGradients::*values;
        double (Bounds::*allowed)(int64_t, int64_t) const;
    } gradients[] = {
        {"d_q", c.d_q, t.d_q, watch_q, &reference::ChannelGradients::q, &Bounds::of_q},
        {"d_k", c.d_k, t.d_k, watch_k, &reference::ChannelGradients::k, &Bounds::of_k},
        {"d_v", c.d_v, t.d_v, watch_v, &reference::ChannelGradients::v, &Bounds::of_v},
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
    double multiplier = 0, multiplier_allowed = kSmallest;
    for (int64_t h = 0; h < c.H; h++) {
        double scale = 0, scale_allowed = kSmallest;
        for (int64_t b = 0; b < c.B; b++) {
            const size_t head = size_t(b * c.H + h);
            scale += heads[head].scale, scale_allowed += bounds[head].of_scale();
            multiplier += heads[head].output_multiplier, multiplier_allowed += bounds[head].of_multiplier();
        }
        const float got = (*t.d_scale)[size_t(h)];
        if (c.d_scale && !std::isnan(scale)) {
            EXPECT_NEAR(double(got), scale, scale_allowed + kUnit * std::fabs(scale)) << "of d_scale[" << h << "]";
        } else {
            EXPECT_EQ(is_untouched(got), !c.d_scale);
            EXPECT_TRUE(std::isnan(got));
        }
    }
    const float got = t.d_output_multiplier->front();
    if (c.d_output_multiplier && !std::isnan(multiplier)) {
        EXPECT_NEAR(double(got), multiplier, multiplier_allowed + kUnit * std::fabs(multiplier))
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
    const std::vector<Bounds> bounds = bounds_of(c, t);
    const auto head = [&](int64_t b, int64_t h) -> const Bounds & { return bounds[size_t(b * c.H + h)]; };
    EXPECT_TRUE(agrees(t.map, [&](int64_t b, int64_t h, int64_t i, int64_t j) {
        const Dot &dot = head(b, h).map[size_t(i)][size_t(j)];
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
