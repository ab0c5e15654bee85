#include "support/spatial_gradients.h"

#include <cmath>
#include <limits>
#include <ostream>

#include "reference/spatial_forward.h"
#include "reference/spatial_row.h"
#include "support/compare.h"

namespace muattn::test {
namespace {

constexpr double kUnit = 0x1p-23, kLeastWeight = 0x1p-126, kSmallest = std::numeric_limits<float>::denorm_min();

double sum_error(int64_t terms) { return kUnit * (1 + std::sqrt(double(terms)) / 8); }

// The views of a call, and what they point to.
struct Views {
    muattn_tensor q, k, v, out, lse, d_out, d_lse, mask{};
    muattn_spatial_options options;

    Views(const SpatialBackwardCase &c, const SpatialGradientTensors &t)
        : q(t.inputs.q.view()),
          k(t.inputs.k.view()),
          v(t.inputs.v.view()),
          out(t.inputs.out.view()),
          lse(t.inputs.lse.view()),
          d_out(t.d_out.view()),
          d_lse(t.d_lse.view()),
          options(options_with_mask(c, t.inputs, mask)) {}
    Views(const Views &) = delete;
    Views &operator=(const Views &) = delete;

    const muattn_tensor *d_lse_if(bool given) const { return given ? &d_lse : nullptr; }
};

// The magnitudes of what is summed up, and the errors of the terms.
class Allowed {
public:
    Allowed(const SpatialBackwardCase &c, const Views &views)
        : c_(c),
          in_(reference::spatial_inputs(views.q, views.k, views.v, views.options)),
          out_(views.out),
          lse_(views.lse),
          d_out_(views.d_out),
          d_lse_(views.d_lse),
          multiplier_(reference::spatial_multiplier(in_)) {
        sums_.q.resize(size_t(c.B * c.H * c.n_q * c.d));
        sums_.k.resize(size_t(c.B * c.Hk * c.n_k * c.d));
        sums_.v.resize(size_t(c.B * c.Hk * c.n_k * c.d_v));
        sums_.scale.resize(size_t(c.H));
        sums_.sink.resize(size_t(c.H));
        if (c.mask == SpatialCase::additive) {
            size_t elements = 1;
            for (int dim = 0; dim < 4; dim++) {
                elements *= size_t(views.mask.shape[dim]);
            }
            sums_.mask.resize(elements);
        }
    }

    reference::SpatialGradients all() {
        for (int64_t b = 0; b < c_.B; b++) {
            for (int64_t h = 0; h < c_.H; h++) {
                for (int64_t i = 0; i < c_.n_q; i++) {
                    add_row({b, h, i});
                }
            }
        }
        return sums_;
    }

private:
    void add_row(const reference::Query &query) {
        const auto [b, h, i] = query;
        const double lse = lse_.at(b, h, i, 0);
        if (!std::isfinite(lse)) {
            return;
        }
        reference::Dot D;
        for (int64_t e = 0; e < c_.d_v; e++) {
            D.add(d_out_.at(b, h, i, e) * out_.at(b, h, i, e));
        }
        sums_.output_multiplier += sum_error(c_.d_v + c_.n_q) * D.size / std::fabs(multiplier_);
        if (c_.with_d_lse) {
            D.add(-d_lse_.at(b, h, i, 0));
        }
        for (int64_t j = 0; j < c_.n_k; j++) {
            const double mask = reference::mask_term(in_, query, j);
            if (reference::sees(in_, query, j) && std::isfinite(mask)) {
                add_key(query, j, mask, lse, D);
            }
        }
        // d_q of this row is complete.
        const double s = std::fabs(reference::spatial_scale(in_, h));
        for (int64_t e = 0; e < c_.d; e++) {
            const double q = std::fabs(in_.q.at(b, h, i, e)), d_q = q_magnitude_[size_t(e)];
            sums_.scale[size_t(h)] += q * (s > 0 ? sums_.q[row(query) + size_t(e)] / s : d_q * sum_error(c_.n_k)) +
                                      q * d_q * sum_error(c_.d + c_.n_q);
        }
        q_magnitude_.assign(size_t(c_.d), 0);
        if (!c_.sink.empty()) {
            const double sink = double(c_.sink[size_t(h)]), weight = std::exp(sink - lse);
            sums_.sink[size_t(h)] +=
                std::isfinite(sink)
                    ? weight * ((kUnit * (4 + 2 * std::fabs(lse) + std::fabs(sink)) + sum_error(c_.n_q)) *
                                    std::fabs(D.value) +
                                sum_error(c_.d_v) * D.size)
                    : 0;
        }
    }

    size_t row(const reference::Query &query) const {
        return size_t(((query.b * c_.H + query.h) * c_.n_q + query.i) * c_.d);
    }

    void add_key(const reference::Query &query, int64_t j, double mask, double lse, const reference::Dot &D) {
        const auto [b, h, i] = query;
        const int64_t h_kv = in_.kv_head(h);
        const reference::Dot product = reference::scaled_dot(in_, query, j);
        const double c = double(c_.softcap), logit = reference::with_softcap(in_, product.value) + mask,
                     P = std::exp(logit - lse), s = std::fabs(reference::spatial_scale(in_, h));
        reference::Dot dP;
        for (int64_t e = 0; e < c_.d_v; e++) {
            dP.add(multiplier_ * d_out_.at(b, h, i, e) * in_.v.at(b, h_kv, j, e));
        }
        const double of_weight = kUnit * (4 + product.size + std::fabs(logit) + std::fabs(mask) + 2 * std::fabs(lse)),
                     dZ = P * std::fabs(dP.value - D.value);
        const double of_dZ = dZ * of_weight + (P * sum_error(c_.d_v) + kLeastWeight) * (dP.size + D.size) + kSmallest;
        const double tanh = c > 0 ? std::tanh(product.value / c) : 0, slope = 1 - tanh * tanh;
        const double dS = dZ * slope, of_dS = of_dZ * slope + (c > 0 ? dZ * kUnit * (8 + 2 * product.size / c) : 0);
        const int64_t rows_of_key = c_.n_q * (c_.H / c_.Hk);
        const size_t key = size_t((b * c_.Hk + h_kv) * c_.n_k + j);
        q_magnitude_.resize(size_t(c_.d));
        for (int64_t e = 0; e < c_.d; e++) {
            const double q = std::fabs(in_.q.at(b, h, i, e)), k = std::fabs(in_.k.at(b, h_kv, j, e));
            sums_.q[row(query) + size_t(e)] += s * k * (of_dS + dS * sum_error(c_.n_k)) + kSmallest;
            sums_.k[key * size_t(c_.d) + size_t(e)] += s * q * (of_dS + dS * sum_error(rows_of_key)) + kSmallest;
            q_magnitude_[size_t(e)] += k * dS;
        }
        for (int64_t e = 0; e < c_.d_v; e++) {
            sums_.v[key * size_t(c_.d_v) + size_t(e)] += std::fabs(multiplier_ * d_out_.at(b, h, i, e)) *
                                                             (P * (of_weight + sum_error(rows_of_key)) + kLeastWeight) +
                                                         kSmallest;
        }
        if (!sums_.mask.empty()) {
            const int64_t index[] = {b, h, i, j}, full[] = {c_.B, c_.H, c_.n_q, c_.n_k};
            size_t place = 0;
            int64_t terms = 1;
            for (size_t dim = 0; dim < 4; dim++) {
                const int64_t size = c_.mask_full[dim] ? full[dim] : 1;
                place = place * size_t(size) + size_t(size == 1 ? 0 : index[dim]);
                terms *= size == 1 ? full[dim] : 1;
            }
            sums_.mask[place] += of_dZ + dZ * sum_error(terms);
        }
    }

    const SpatialBackwardCase &c_;
    reference::SpatialInputs in_;
    reference::Elements out_, lse_, d_out_, d_lse_;
    const double multiplier_;
    reference::SpatialGradients sums_;
    std::vector<double> q_magnitude_ =
        std::vector<double>(size_t(c_.d), 0);  // of the terms of a row of d_q, without scale
};

testing::AssertionResult gradient_agrees(const Tensor &got, const std::vector<double> &want,
                                         const std::vector<double> &allowed) {
    return agrees(got, [&](int64_t b, int64_t h, int64_t i, int64_t e) {
        const Shape &shape = got.shape();
        const auto place = size_t(((b * shape[1] + h) * shape[2] + i) * shape[3] + e);
        return Expected{want[place], allowed[place]};
    });
}

// A list as a tensor.
Tensor tensor_of(const std::vector<float> &list) {
    Tensor t({1, 1, 1, int64_t(list.size())}, dense());
    for (size_t i = 0; i < list.size(); i++) {
        t.at(0, 0, 0, int64_t(i)) = list[i];
    }
    return t;
}

}  // namespace

std::vector<float> SpatialGradientTensors::results() const {
    std::vector<float> all = d_q.elements();
    for (const Tensor *t : {&d_k, &d_v, &d_mask}) {
        const std::vector<float> more = t->elements();
        all.insert(all.end(), more.begin(), more.end());
    }
    all.insert(all.end(), d_scale.begin(), d_scale.end());
    all.insert(all.end(), d_sink.begin(), d_sink.end());
    all.insert(all.end(), d_output_multiplier.begin(), d_output_multiplier.end());
    return all;
}

void SpatialGradientTensors::clear() const {
    for (const Tensor *t : {&d_q, &d_k, &d_v, &d_mask}) {
        t->fill(untouched());
    }
    std::fill(d_scale.begin(), d_scale.end(), untouched());
    std::fill(d_sink.begin(), d_sink.end(), untouched());
    std::fill(d_output_multiplier.begin(), d_output_multiplier.end(), untouched());
}

std::ostream &operator<<(std::ostream &out, const SpatialBackwardCase &c) {
    out << "backward, " << static_cast<const SpatialCase &>(c) << " d_lse=" << c.with_d_lse << " wanted=";
    const std::pair<bool, const char *> wanted[] = {{c.wants_q, "q"},
                                                    {c.wants_k, "k"},
                                                    {c.wants_v, "v"},
                                                    {c.wants_scale, "scale"},
                                                    {c.has_d_mask(), "mask"},
                                                    {c.has_d_sink(), "sink"},
                                                    {c.has_d_output_multiplier(), "output_multiplier"}};
    for (const auto &[is, name] : wanted) {
        out << (is ? name : "") << (is ? " " : "");
    }
    return out;
}

SpatialGradientTensors make_gradient_tensors(const SpatialBackwardCase &c) {
    SpatialGradientTensors t;
    t.inputs = make_tensors(c);
    const Layout to = for_output(c.layout);
    t.d_out = Tensor({c.B, c.H, c.n_q, c.d_v}, c.layout);
    t.d_lse = Tensor({c.B, c.H, c.n_q, 1}, c.layout);
    t.d_q = Tensor({c.B, c.H, c.n_q, c.d}, to);
    t.d_k = Tensor({c.B, c.Hk, c.n_k, c.d}, to);
    t.d_v = Tensor({c.B, c.Hk, c.n_k, c.d_v}, to);
    t.d_mask = Tensor(t.inputs.mask.shape(), to);
    t.d_scale.assign(size_t(c.H), untouched());
    t.d_sink.assign(size_t(c.H), untouched());
    t.d_output_multiplier.assign(1, untouched());
    t.d_out.fill_normal(11, c.amplitude);
    t.d_lse.fill_normal(12, c.amplitude);
    write_forward_result(c, t);
    return t;
}

void write_forward_result(const SpatialBackwardCase &c, SpatialGradientTensors &t) {
    muattn_tensor mask{};
    const std::vector<reference::SpatialRow> rows = reference::spatial_attention_forward(
        t.inputs.q.view(), t.inputs.k.view(), t.inputs.v.view(), options_with_mask(c, t.inputs, mask));
    size_t place = 0;
    for (int64_t b = 0; b < c.B; b++) {
        for (int64_t h = 0; h < c.H; h++) {
            for (int64_t i = 0; i < c.n_q; i++, place++) {
                for (int64_t e = 0; e < c.d_v; e++) {
                    t.inputs.out.at(b, h, i, e) = float(rows[place].out[size_t(e)]);
                }
                t.inputs.lse.at(b, h, i, 0) = float(rows[place].lse);
            }
        }
    }
}

muattn_status run(const SpatialBackwardCase &c, const SpatialGradientTensors &t) {
    const Views views(c, t);
    const muattn_tensor d_q = t.d_q.view(), d_k = t.d_k.view(), d_v = t.d_v.view(), d_mask = t.d_mask.view();
    muattn_spatial_gradients gradients{};
    gradients.d_q = c.wants_q ? &d_q : nullptr;
    gradients.d_k = c.wants_k ? &d_k : nullptr;
    gradients.d_v = c.wants_v ? &d_v : nullptr;
    gradients.d_scale = c.wants_scale ? t.d_scale.data() : nullptr;
    gradients.d_mask = c.has_d_mask() ? &d_mask : nullptr;
    gradients.d_sink = c.has_d_sink() ? t.d_sink.data() : nullptr;
    gradients.d_output_multiplier = c.has_d_output_multiplier() ? t.d_output_multiplier.data() : nullptr;
    return muattn_spatial_attention_backward(&views.q, &views.k, &views.v, &views.out, &views.lse, &views.d_out,
                                             views.d_lse_if(c.with_d_lse), &views.options, &gradients);
}

reference::SpatialGradients allowed_gradient_errors(const SpatialBackwardCase &c, const SpatialGradientTensors &t) {
    const Views views(c, t);
    return Allowed(c, views).all();
}

void expect_gradients_agree(const SpatialBackwardCase &c, const SpatialGradientTensors &t, const Instead &instead) {
    SCOPED_TRACE(testing::PrintToString(c));
    const Views views(c, t);
    const reference::SpatialGradients want = reference::spatial_attention_backward(
        views.q, views.k, views.v, views.options, views.out, views.lse, views.d_out, views.d_lse_if(c.with_d_lse));
    const reference::SpatialGradients allowed = allowed_gradient_errors(c, t);
    t.clear();
    const Tensor *const gradients[] = {&t.d_q, &t.d_k, &t.d_v, &t.d_mask};
    const bool wanted[] = {c.wants_q, c.wants_k, c.wants_v, c.has_d_mask()};
    const std::vector<double> *const values[] = {&want.q, &want.k, &want.v, &want.mask}, *const errors[] = {
                                                                                             &allowed.q, &allowed.k,
                                                                                             &allowed.v, &allowed.mask};
    static constexpr const char *kNames[] = {"d_q", "d_k", "d_v", "d_mask"};
    std::vector<std::unique_ptr<WriteWatch>> watches;
    for (const Tensor *gradient : gradients) {
        watches.push_back(std::make_unique<WriteWatch>(*gradient));
    }
    const WriteWatch watch_q(t.inputs.q), watch_k(t.inputs.k), watch_v(t.inputs.v), watch_out(t.inputs.out),
        watch_lse(t.inputs.lse), watch_d_out(t.d_out), watch_d_lse(t.d_lse);
    if (instead) {
        ASSERT_EQ(instead(), MUATTN_OK);
    } else {
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        expect_current_backend_ran({&t.inputs.q, &t.inputs.k, &t.inputs.v, &t.inputs.out, &t.inputs.lse, &t.inputs.mask,
                                    &t.d_out, &t.d_lse, &t.d_q, &t.d_k, &t.d_v, &t.d_mask});
    }
    for (int i = 0; i < 4; i++) {
        if (wanted[i]) {
            EXPECT_TRUE(gradient_agrees(*gradients[i], *values[i], *errors[i])) << "of " << kNames[i];
            EXPECT_EQ(watches[size_t(i)]->changes_outside(), 0) << "writes next to the elements of " << kNames[i];
        } else {
            EXPECT_EQ(watches[size_t(i)]->changes(), 0) << "writes to " << kNames[i] << ", which is not wanted";
        }
    }
    if (c.wants_scale) {
        EXPECT_TRUE(gradient_agrees(tensor_of(t.d_scale), want.scale, allowed.scale)) << "of d_scale";
    }
    if (c.has_d_sink()) {
        EXPECT_TRUE(gradient_agrees(tensor_of(t.d_sink), want.sink, allowed.sink)) << "of d_sink";
    }
    if (c.has_d_output_multiplier()) {
        EXPECT_TRUE(
            gradient_agrees(tensor_of(t.d_output_multiplier), {want.output_multiplier}, {allowed.output_multiplier}))
            << "of d_output_multiplier";
    }
    for (const WriteWatch *input : {&watch_q, &watch_k, &watch_v, &watch_out, &watch_lse, &watch_d_out, &watch_d_lse}) {
        EXPECT_EQ(input->changes(), 0) << "writes to an input";
    }
}

}  // namespace muattn::test
