// The double-precision gradients that kernels are compared with, against finite differences of the double-precision forward pass.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "reference/channel_backward.h"
#include "reference/channel_forward.h"
#include "reference/spatial_backward.h"
#include "reference/spatial_forward.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

// Inputs are multiples of 2^-6 and steps 2^-12, so that a step is exact in float. What is left is of the order of the step's square, and of
// out and lse, which are floats.
constexpr float kStep = 1.0f / 4096;
constexpr double kTolerance = 2e-5;

void coarsen(const Tensor &x) {
    for (int64_t b = 0; b < x.size(0); b++) {
        for (int64_t h = 0; h < x.size(1); h++) {
            for (int64_t i = 0; i < x.size(2); i++) {
                for (int64_t e = 0; e < x.size(3); e++) {
                    x.at(b, h, i, e) = std::round(x.at(b, h, i, e) * 64) / 64;
                }
            }
        }
    }
}

double slope(float &x, const std::function<double()> &loss) {
    const float at = x;
    x = at + kStep;
    const double above = loss();
    x = at - kStep;
    const double below = loss();
    x = at;
    return (above - below) / (2 * double(kStep));
}

// gradient: dense, of x.
void expect_slopes(const char *name, const Tensor &x, const std::vector<double> &gradient,
                   const std::function<double()> &loss) {
    size_t place = 0;
    for (int64_t b = 0; b < x.size(0); b++) {
        for (int64_t h = 0; h < x.size(1); h++) {
            for (int64_t i = 0; i < x.size(2); i++) {
                for (int64_t e = 0; e < x.size(3); e++) {
                    ASSERT_NEAR(gradient[place], slope(x.at(b, h, i, e), loss), kTolerance)
                        << "by " << name << "[" << b << "," << h << "," << i << "," << e << "]";
                    place++;
                }
            }
        }
    }
}

// A call with what comes from outside: dO and dlse.
struct SpatialProblem {
    SpatialCase c;
    SpatialTensors t;
    Tensor d_out, d_lse;

    explicit SpatialProblem(const SpatialCase &of) : c(of), t(make_tensors(of)) {
        for (const Tensor *x : {&t.q, &t.k, &t.v}) {
            coarsen(*x);
        }
        if (c.mask == SpatialCase::additive) {
            coarsen(t.mask);
        }
        d_out = Tensor({c.B, c.H, c.n_q, c.d_v}, dense());
        d_lse = Tensor({c.B, c.H, c.n_q, 1}, dense());
        d_out.fill_normal(11);
        d_lse.fill_normal(12);
        write_result();
    }

    muattn_spatial_options options() {
        muattn_spatial_options o = c.options();
        if (c.mask != SpatialCase::no_mask) {
            mask_ = t.mask.view();
            if (c.mask == SpatialCase::boolean) {
                mask_.data = t.mask_bytes.data();
                mask_.dtype = MUATTN_BOOL;
                std::fill(std::begin(mask_.strides), std::end(mask_.strides), 0);  // dense
            }
            o.mask = &mask_;
        }
        return o;
    }
    std::vector<reference::SpatialRow> rows() {
        const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view();
        return reference::spatial_attention_forward(q, k, v, options());
    }
    double loss() {
        double sum = 0;
        size_t place = 0;
        for (const reference::SpatialRow &row : rows()) {
            const auto [b, h, i] = row_at(place++);
            for (int64_t e = 0; e < c.d_v; e++) {
                sum += double(d_out.at(b, h, i, e)) * row.out[size_t(e)];
            }
            sum += std::isfinite(row.lse) ? double(d_lse.at(b, h, i, 0)) * row.lse : 0;
        }
        return sum;
    }
    reference::SpatialGradients gradients() {
        const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view(), lse = t.lse.view();
        const muattn_tensor by_out = d_out.view(), by_lse = d_lse.view();
        return reference::spatial_attention_backward(q, k, v, options(), out, lse, by_out, &by_lse);
    }

private:
    std::array<int64_t, 3> row_at(size_t place) const {
        const auto row = int64_t(place);
        return {row / (c.H * c.n_q), row / c.n_q % c.H, row % c.n_q};
    }
    void write_result() {
        size_t place = 0;
        for (const reference::SpatialRow &row : rows()) {
            const auto [b, h, i] = row_at(place++);
            for (int64_t e = 0; e < c.d_v; e++) {
                t.out.at(b, h, i, e) = float(row.out[size_t(e)]);
            }
            t.lse.at(b, h, i, 0) = float(row.lse);
        }
    }

    muattn_tensor mask_{};
};

SpatialCase small() {
    SpatialCase c;
    c.B = 2, c.H = 2, c.Hk = 2, c.n_q = 4, c.n_k = 5, c.d = 3, c.d_v = 2;
    c.scale = {0.5f, -0.75f};
    return c;
}

void expect_spatial_slopes(const SpatialCase &c) {
    SCOPED_TRACE(testing::PrintToString(c));
    SpatialProblem problem(c);
    const reference::SpatialGradients gradients = problem.gradients();
    const auto loss = [&] { return problem.loss(); };
    expect_slopes("q", problem.t.q, gradients.q, loss);
    expect_slopes("k", problem.t.k, gradients.k, loss);
    expect_slopes("v", problem.t.v, gradients.v, loss);
    for (int64_t h = 0; h < c.H; h++) {
        ASSERT_NEAR(gradients.scale[size_t(h)], slope(problem.c.scale[size_t(h)], loss), kTolerance)
            << "by scale " << h;
        if (!c.sink.empty()) {
            ASSERT_NEAR(gradients.sink[size_t(h)], slope(problem.c.sink[size_t(h)], loss), kTolerance)
                << "by sink " << h;
        }
    }
    if (!c.output_multiplier.empty()) {
        ASSERT_NEAR(gradients.output_multiplier, slope(problem.c.output_multiplier[0], loss), kTolerance);
    }
    if (c.mask == SpatialCase::additive) {
        expect_slopes("mask", problem.t.mask, gradients.mask, loss);
    } else {
        EXPECT_TRUE(gradients.mask.empty());
    }
}

TEST(ReferenceGradients, SpatialAreSlopes) {
    SpatialCase c = small();
    expect_spatial_slopes(c);
    c.causal = MUATTN_CAUSAL_OFFSET;
    c.causal_offset = -1;  // the first query sees no key
    expect_spatial_slopes(c);
    c.window = {1, 1, 0};
    c.key_lengths = {5, 2};
    expect_spatial_slopes(c);
    c = small();
    c.Hk = 1;
    c.softcap = 1.5f;
    expect_spatial_slopes(c);
    c.mask = SpatialCase::boolean;
    expect_spatial_slopes(c);
    c.sink = {0.25f, -1};
    expect_spatial_slopes(c);
    c.output_multiplier = {-1.5f};
    expect_spatial_slopes(c);
    c.mask = SpatialCase::additive;
    for (const std::array<bool, 4> full : {std::array<bool, 4>{true, true, true, true}, {false, true, false, true}}) {
        c.mask_full = full;
        expect_spatial_slopes(c);
    }
}

// What merge() and rings of machines count on: with out and lse of all keys, the gradients of parts of the keys add up.
TEST(ReferenceGradients, SpatialOfPartsAddUp) {
    const SpatialCase c = small();
    SpatialCase with_lengths = c, with_mask = c;
    with_lengths.key_lengths = {2, 2};
    with_mask.mask = SpatialCase::boolean;
    with_mask.mask_full = {false, false, false, true};
    SpatialProblem whole(c), first(with_lengths), second(with_mask);
    for (int64_t j = 0; j < c.n_k; j++) {
        second.t.mask_bytes[size_t(j)] = j >= 2;
    }
    for (SpatialProblem *part : {&first, &second}) {
        part->t.out = whole.t.out;
        part->t.lse = whole.t.lse;
    }
    const reference::SpatialGradients want = whole.gradients(), a = first.gradients(), b = second.gradients();
    using Gradients = reference::SpatialGradients;
    for (std::vector<double> Gradients::*const by : {&Gradients::q, &Gradients::k, &Gradients::v, &Gradients::scale}) {
        for (size_t i = 0; i < (want.*by).size(); i++) {
            ASSERT_NEAR((a.*by)[i] + (b.*by)[i], (want.*by)[i], 1e-12) << i;
        }
    }
}

void expect_channel_slopes(const ChannelCase &c) {
    SCOPED_TRACE(testing::PrintToString(c));
    ChannelCase changed = c;
    const ChannelTensors t = make_tensors(c);
    for (const Tensor *x : {&t.q, &t.k, &t.v}) {
        coarsen(*x);
    }
    const bool first = c.channels == MUATTN_CHANNELS_FIRST;
    const Tensor d_out(first ? Shape{c.B, c.H, c.d, c.n} : Shape{c.B, c.H, c.n, c.d}, dense());
    d_out.fill_normal(11);
    const auto loss = [&] {
        const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view();
        double sum = 0;
        int64_t head = 0;
        for (const reference::ChannelHead &h : reference::channel_attention_forward(q, k, v, changed.options())) {
            for (int64_t u = 0; u < c.n; u++) {
                for (int64_t i = 0; i < c.d; i++) {
                    const float by_out =
                        first ? d_out.at(head / c.H, head % c.H, i, u) : d_out.at(head / c.H, head % c.H, u, i);
                    sum += double(by_out) * h.out[size_t(u * c.d + i)];
                }
            }
            head++;
        }
        return sum;
    };
    const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), by_out = d_out.view();
    const std::vector<reference::ChannelGradients> heads =
        reference::channel_attention_backward(q, k, v, changed.options(), by_out);
    double by_multiplier = 0;
    for (int64_t x = 0; x < c.B * c.H; x++) {
        const reference::ChannelGradients &head = heads[size_t(x)];
        by_multiplier += head.output_multiplier;
        for (const auto &[name, tensor, gradient] :
             {std::make_tuple("q", &t.q, &head.q), std::make_tuple("k", &t.k, &head.k),
              std::make_tuple("v", &t.v, &head.v)}) {
            for (int64_t u = 0; u < c.n; u++) {
                for (int64_t i = 0; i < c.d; i++) {
                    float &at = first ? tensor->at(x / c.H, x % c.H, i, u) : tensor->at(x / c.H, x % c.H, u, i);
                    ASSERT_NEAR((*gradient)[size_t(u * c.d + i)], slope(at, loss), kTolerance)
                        << "by " << name << " of token " << u << ", channel " << i;
                }
            }
        }
    }
    for (int64_t h = 0; h < c.H; h++) {
        double by_scale = 0;
        for (int64_t b = 0; b < c.B; b++) {
            by_scale += heads[size_t(b * c.H + h)].scale;
        }
        EXPECT_NEAR(by_scale, slope(changed.scale[size_t(h)], loss), kTolerance) << "by scale " << h;
    }
    EXPECT_NEAR(by_multiplier, slope(changed.output_multiplier[0], loss), kTolerance);
}

TEST(ReferenceGradients, ChannelAreSlopes) {
    for (const muattn_layout layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (const bool normalize : {false, true}) {
            ChannelCase c;
            c.B = 2, c.H = 2, c.n = 5, c.d = 3;
            c.scale = {0.5f, -0.75f};
            c.output_multiplier = {1.25f};
            c.normalize = normalize;
            c.channels = layout;
            expect_channel_slopes(c);
        }
    }
}

}  // namespace
}  // namespace muattn::test
