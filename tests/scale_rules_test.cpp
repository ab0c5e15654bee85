// The table of scaling rules in muattn.h, as functions and as options of the calls.
#include <cmath>

#include "support/backends.h"
#include "support/cases.h"
#include "support/faults.h"

namespace muattn::test {
namespace {

constexpr int64_t kSizes[] = {1, 2, 3, 16, 32, 64, 100, 128, 1000, 1024};

double spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base = 0) {
    double scale = -1;
    EXPECT_EQ(muattn_spatial_scale(scaling, d, d_base, &scale), MUATTN_OK) << muattn_last_error();
    return scale;
}

double channel_scale(muattn_scaling scaling, int64_t n) {
    double scale = -1;
    EXPECT_EQ(muattn_channel_scale(scaling, n, &scale), MUATTN_OK) << muattn_last_error();
    return scale;
}

double channel_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base = 0) {
    double multiplier = -1;
    EXPECT_EQ(muattn_channel_output_multiplier(scaling, d, d_base, &multiplier), MUATTN_OK) << muattn_last_error();
    return multiplier;
}

TEST(ScaleRules, Spatial) {
    for (const int64_t d : kSizes) {
        EXPECT_EQ(spatial_scale(MUATTN_SCALING_SP, d), 1 / std::sqrt(double(d))) << d;
        EXPECT_EQ(spatial_scale(MUATTN_SCALING_MUP_HEADS, d), 1 / std::sqrt(double(d))) << d;
        EXPECT_EQ(spatial_scale(MUATTN_SCALING_MUP, d), 1 / double(d)) << d;
        for (const int64_t d_base : kSizes) {
            EXPECT_EQ(spatial_scale(MUATTN_SCALING_MUP, d, d_base), std::sqrt(double(d_base)) / double(d))
                << d << " " << d_base;
        }
    }
}

// The 8/d of microsoft/mup's README.
TEST(ScaleRules, EightOverDIsBase64) { EXPECT_EQ(spatial_scale(MUATTN_SCALING_MUP, 256, 64), 8.0 / 256); }

SpatialCase ruled(muattn_scaling scaling, double alpha, double power = 0, int64_t d_base = 0) {
    SpatialCase c;
    c.scaling = scaling, c.alpha = alpha, c.power = power, c.d_base = d_base;
    return c;
}

// What a call with these options uses.
std::pair<double, double> spatial_rule(const SpatialCase &c, int64_t d, int64_t n_k) {
    const muattn_spatial_options options = c.options();
    double scale = -1, multiplier = -1;
    EXPECT_EQ(muattn_spatial_rule(&options, d, n_k, &scale, &multiplier), MUATTN_OK) << muattn_last_error();
    return {scale, multiplier};
}

TEST(ScaleRules, FactorsAndPowers) {
    using Rule = std::pair<double, double>;
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_SP, 0), 64, 9), Rule(0.125, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_SP, 1), 64, 9), Rule(0.125, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_SP, 3), 64, 9), Rule(0.375, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_MUP_HEADS, 0.5), 64, 9), Rule(0.0625, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_MUP, 2), 64, 9), Rule(2.0 / 64, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_MUP, 2, 1, 16), 64, 9), Rule(8.0 / 64, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_MUP, 0, 0.5), 64, 9), Rule(0.125, 1));
    EXPECT_EQ(spatial_rule(ruled(MUATTN_SCALING_MUP, 0, 2, 16), 8, 9), Rule(4.0 / 64, 1));
    EXPECT_EQ(spatial_scale(MUATTN_SCALING_UMUP, 64), 1.0 / 64);
    double multiplier = -1;
    EXPECT_EQ(muattn_spatial_rule(nullptr, 64, 9, nullptr, &multiplier), MUATTN_OK);
    EXPECT_EQ(multiplier, 1);
}

// sigma of unit_scaling 0.3.5, functional.scaled_dot_product_attention().
TEST(ScaleRules, OutputOfUnitScaledMup) {
    const auto sigma = [](double d, double mult, double lower) {
        return std::exp((1 - 1 / (1 + 4 * d / (mult * mult))) * std::log(lower));
    };
    for (const double alpha : {0.25, 1.0, 16.0}) {
        for (const int64_t d : {1, 16, 128}) {
            for (const int64_t n : {2, 7, 1024}) {
                SpatialCase c = ruled(MUATTN_SCALING_UMUP, alpha);
                auto [scale, multiplier] = spatial_rule(c, d, n);
                EXPECT_EQ(scale, alpha / double(d));
                EXPECT_DOUBLE_EQ(multiplier, 1 / sigma(double(d), alpha, std::sqrt(1 / double(n))));
                for (const muattn_causal causal :
                     {MUATTN_CAUSAL_TOP_LEFT, MUATTN_CAUSAL_BOTTOM_RIGHT, MUATTN_CAUSAL_OFFSET}) {
                    c.causal = causal;
                    multiplier = spatial_rule(c, d, n).second;
                    EXPECT_DOUBLE_EQ(multiplier,
                                     1 / sigma(double(d), alpha, std::sqrt(std::log(double(n)) / double(n))));
                }
            }
        }
    }
    // One value, or none, is not a mean of many.
    SpatialCase c = ruled(MUATTN_SCALING_UMUP, 0);
    for (const muattn_causal causal : {MUATTN_CAUSAL_NONE, MUATTN_CAUSAL_TOP_LEFT}) {
        c.causal = causal;
        EXPECT_EQ(spatial_rule(c, 64, 1).second, 1);
        EXPECT_EQ(spatial_rule(c, 64, 0).second, 1);
    }
}

TEST(ScaleRules, Channel) {
    for (const muattn_scaling scaling :
         {MUATTN_SCALING_SP, MUATTN_SCALING_MUP, MUATTN_SCALING_MUP_HEADS, MUATTN_SCALING_MUP_MEAN}) {
        for (const int64_t n : kSizes) {
            EXPECT_EQ(channel_scale(scaling, n), 1 / std::sqrt(double(n))) << scaling << " " << n;
        }
    }
    for (const int64_t d : kSizes) {
        for (const muattn_scaling scaling : {MUATTN_SCALING_SP, MUATTN_SCALING_MUP_HEADS, MUATTN_SCALING_MUP_MEAN}) {
            EXPECT_EQ(channel_multiplier(scaling, d), 1) << scaling << " " << d;
            EXPECT_EQ(channel_multiplier(scaling, d, 64), 1) << scaling << " " << d;
        }
        for (const int64_t d_base : kSizes) {
            EXPECT_EQ(channel_multiplier(MUATTN_SCALING_MUP, d, d_base), double(d_base) / double(d))
                << d << " " << d_base;
        }
    }
}

// At d = d_base muP is the standard parametrization, to the last bits of a double.
TEST(ScaleRules, MupEqualsStandardAtTheBase) {
    for (const int64_t d : kSizes) {
        EXPECT_DOUBLE_EQ(spatial_scale(MUATTN_SCALING_MUP, d, d), spatial_scale(MUATTN_SCALING_SP, d)) << d;
        EXPECT_EQ(channel_multiplier(MUATTN_SCALING_MUP, d, d), 1) << d;
    }
}

TEST(ScaleRules, Errors) {
    double x = -1;
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_MUP_MEAN, 8, 0, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_spatial_scale(unknown_value<muattn_scaling>(), 8, 0, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_channel_scale(unknown_value<muattn_scaling>(), 8, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_channel_output_multiplier(unknown_value<muattn_scaling>(), 8, 0, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_MUP, 8, -1, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_SP, 8, -1, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_SP, 0, 0, &x), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_SP, -8, 0, &x), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_SP, 8, 0, nullptr), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_channel_scale(MUATTN_SCALING_SP, 0, &x), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_channel_scale(MUATTN_SCALING_SP, 8, nullptr), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_MUP, 8, 0, &x), MUATTN_INVALID_SCALING);
    EXPECT_STRNE(muattn_last_error(), "");
    EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_MUP, 8, -1, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_SP, 0, 0, &x), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_SP, 8, 0, nullptr), MUATTN_INVALID_ARGUMENT);
    muattn_spatial_options options{};
    EXPECT_EQ(muattn_spatial_rule(&options, 0, 1, &x, nullptr), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_spatial_rule(&options, 1, -1, &x, nullptr), MUATTN_INVALID_ARGUMENT);
    options.alpha = -1;
    EXPECT_EQ(muattn_spatial_rule(&options, 1, 1, &x, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_channel_scale(MUATTN_SCALING_UMUP, 8, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_UMUP, 8, 8, &x), MUATTN_INVALID_SCALING);
    EXPECT_EQ(x, -1) << "written in spite of an error";
}

class ScaleRulesOfCalls : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ScaleRulesOfCalls);

TEST_P(ScaleRulesOfCalls, Spatial) {
    SpatialCase c;
    c.H = c.Hk = 2, c.n_q = 6, c.n_k = 9, c.d = 24, c.d_v = 8;
    for (const muattn_scaling scaling : {MUATTN_SCALING_SP, MUATTN_SCALING_MUP, MUATTN_SCALING_MUP_HEADS}) {
        for (const int64_t d_base : {0, 1, 24, 64, 4096}) {
            c.scaling = scaling, c.d_base = d_base;
            expect_agrees(c);
            c.alpha = 2.5, c.power = scaling == MUATTN_SCALING_MUP ? 0.7 : 0;
            expect_agrees(c);
            c.alpha = c.power = 0;
        }
    }
}

TEST_P(ScaleRulesOfCalls, Channel) {
    ChannelCase c;
    c.H = 2, c.n = 9, c.d = 24;
    for (const muattn_scaling scaling :
         {MUATTN_SCALING_SP, MUATTN_SCALING_MUP, MUATTN_SCALING_MUP_HEADS, MUATTN_SCALING_MUP_MEAN}) {
        for (const int64_t d_base : {1, 24, 64, 4096}) {
            c.scaling = scaling, c.d_base = d_base;
            expect_agrees(c);
            c.alpha = 2.5;
            expect_agrees(c);
            c.alpha = 0;
        }
    }
}

// A number that is given overrides the rule, whatever the rule is.
TEST_P(ScaleRulesOfCalls, GivenNumbersOverrideTheRule) {
    SpatialCase spatial;
    spatial.n_q = 6, spatial.n_k = 9, spatial.d = 24, spatial.d_v = 8;
    spatial.scaling = MUATTN_SCALING_MUP, spatial.d_base = 8, spatial.scale = {0.3f};
    expect_agrees(spatial);
    ChannelCase channel;
    channel.n = 9, channel.d = 24;
    channel.scaling = MUATTN_SCALING_MUP, channel.scale = {0.3f}, channel.output_multiplier = {2.0f};
    expect_agrees(channel);
}

}  // namespace
}  // namespace muattn::test
