// How sizes grow with width on independent N(0, 1) data, as slopes of log(mean |x|) against log d: the oracles of the
// coordinate check that need no training. Wide bands: these tell the rules apart, they do not measure.
#include <cmath>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

constexpr int64_t kWidths[] = {32, 64, 128, 256, 512, 1024};
constexpr double kBand = 0.12;

template<typename Size>
double slope(Size size) {
    double sx = 0, sy = 0, sxx = 0, sxy = 0;
    const double count = double(std::size(kWidths));
    for (const int64_t d : kWidths) {
        const double x = std::log(double(d)), y = std::log(size(d));
        sx += x, sy += y, sxx += x * x, sxy += x * y;
    }
    return (count * sxy - sx * sy) / (count * sxx - sx * sx);
}

double mean_size(const std::vector<float> &numbers) {
    double sum = 0;
    for (const float x : numbers) {
        sum += std::fabs(double(x));
    }
    return sum / double(numbers.size());
}

class CoordinateSlopes : public OnEveryBackend {
protected:
    // With one key, lse is the logit itself.
    static double spatial_logit(muattn_scaling scaling, int64_t d_base, int64_t d, bool same) {
        SpatialCase c;
        c.B = 400, c.d = d, c.scaling = scaling, c.d_base = d_base;
        SpatialTensors t = make_tensors(c);
        t.q.fill_normal(unsigned(d));
        t.k.fill_normal(unsigned(same ? d : d + 1));
        EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        return mean_size(t.lse.elements());
    }

    static double channel_output(muattn_scaling scaling, int64_t d, double mean) {
        ChannelCase c;
        c.n = 32, c.d = d, c.scaling = scaling, c.d_base = 32;
        const ChannelTensors t = make_tensors(c);
        t.q.fill_normal(unsigned(d));
        t.k.fill_normal(unsigned(d + 1));
        t.v.fill_normal(unsigned(d + 2), 1, mean);
        EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        return mean_size(t.out.elements());
    }

    // Token t of V picks column t of the map's softmax, so the output's logarithms are logits up to the row's constant.
    static double channel_logit_difference(int64_t d) {
        ChannelCase c;
        c.n = 32, c.d = d, c.scaling = MUATTN_SCALING_MUP_MEAN;
        const ChannelTensors t = make_tensors(c);
        t.q.fill_normal(unsigned(d));
        t.k.fill_normal(unsigned(d + 1));
        t.v.fill(0);
        for (int64_t token = 0; token < c.n; token++) {
            t.v.at(0, 0, token, token) = 1;
        }
        EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        double sum = 0;
        for (int64_t token = 1; token < c.n; token++) {
            for (int64_t i = 0; i < d; i++) {
                sum += std::fabs(std::log(double(t.out.at(0, 0, token, i))) - std::log(double(t.out.at(0, 0, 0, i))));
            }
        }
        return sum / double((c.n - 1) * d);
    }
};
MUATTN_ON_EVERY_BACKEND(CoordinateSlopes);

TEST_P(CoordinateSlopes, SpatialLogitsOfIndependentQueriesAndKeys) {
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_SP, 0, d, false); }), 0.0, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_MUP_HEADS, 0, d, false); }), 0.0, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_MUP, 0, d, false); }), -0.5, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_MUP, 32, d, false); }), -0.5, kBand);
}

TEST_P(CoordinateSlopes, SpatialLogitsOfEqualQueriesAndKeys) {
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_SP, 0, d, true); }), 0.5, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_MUP, 0, d, true); }), 0.0, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return spatial_logit(MUATTN_SCALING_MUP, 32, d, true); }), 0.0, kBand);
}

TEST_P(CoordinateSlopes, ChannelLogits) {
    EXPECT_NEAR(slope([](int64_t d) { return channel_logit_difference(d); }), 0.0, kBand);
}

TEST_P(CoordinateSlopes, ChannelOutputs) {
    EXPECT_NEAR(slope([](int64_t d) { return channel_output(MUATTN_SCALING_MUP_MEAN, d, 0); }), -0.5, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return channel_output(MUATTN_SCALING_MUP, d, 0); }), -1.5, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return channel_output(MUATTN_SCALING_MUP_MEAN, d, 1); }), 0.0, kBand);
    EXPECT_NEAR(slope([](int64_t d) { return channel_output(MUATTN_SCALING_MUP, d, 1); }), -1.0, kBand);
}

}  // namespace
}  // namespace muattn::test
