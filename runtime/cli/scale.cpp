// muattn scale: s and o of a scaling rule, and where they come from.
#include <fmt/format.h>

#include <memory>
#include <muattn/muattn.hpp>

#include "usage_error.h"
#include "values.h"
#include "verbs.h"

namespace muattn::cli {
namespace {

struct Case {
    std::string rule = "sp";
    int64_t d = 0, n = 0, d_base = 0;  // 0: not given
    double alpha = 0, power = 0;       // the same
    bool causal = false;
};

void print(double s, double o, const std::string &why) {
    // The precision with which the library uses them.
    fmt::print("s    {}\no    {}\nwhy  {}\n", float(s), float(o), why);
}

std::string of_alpha(const Case &c) { return c.alpha != 0 ? fmt::format("; s times alpha = {}", c.alpha) : ""; }

void scale_spatial(const Case &c) {
    SpatialOptions options{};
    options.scaling = scaling_value("--rule", c.rule);
    options.d_base = c.d_base, options.alpha = c.alpha, options.power = c.power;
    options.causal = c.causal ? MUATTN_CAUSAL_TOP_LEFT : MUATTN_CAUSAL_NONE;
    const std::string power = c.power != 0 ? fmt::format("^{}", c.power) : "", letter = c.power != 0 ? "^p" : "";
    std::string why = fmt::format("s = 1/sqrt(d) = 1/sqrt({})", c.d);
    switch (options.scaling) {
    case MUATTN_SCALING_MUP_HEADS: why += ": the number of heads grows, d is fixed"; break;
    case MUATTN_SCALING_MUP:
        why = c.d_base == 0
                  ? fmt::format("s = 1/d{} = 1/{}{}: the head dimension grows, no base model given", letter, c.d, power)
                  : fmt::format("s = sqrt(d_base)/d{} = sqrt({})/{}{}: the head dimension grows{}", letter, c.d_base,
                                c.d, power, c.power == 0 ? ", equal to sp at d = d_base" : "");
        break;
    case MUATTN_SCALING_UMUP:
        if (c.n == 0) {
            fail("--rule umup needs --n: o depends on it");
        }
        why = fmt::format("s = 1/d = 1/{}, and o makes outputs of size 1 of inputs of size 1, over {} {}keys", c.d, c.n,
                          c.causal ? "causal " : "");
        break;
    default: why += ": standard parametrization";
    }
    const SpatialRule rule = spatial_rule(options, c.d, c.n);
    print(rule.scale, rule.output_multiplier, why + of_alpha(c));
}

void scale_channel(const Case &c) {
    const muattn_scaling rule = scaling_value("--rule", c.rule);
    std::string why = fmt::format("s = 1/sqrt(n) = 1/sqrt({}) under every rule; o = ", c.n);
    switch (rule) {
    case MUATTN_SCALING_SP: why += "1: standard parametrization"; break;
    case MUATTN_SCALING_MUP_HEADS: why += "1: the number of heads grows, d is fixed"; break;
    case MUATTN_SCALING_MUP_MEAN: why += "1: mup without the division, the softmax already averages over d"; break;
    case MUATTN_SCALING_MUP:
        if (c.d == 0 || c.d_base == 0) {
            fail("--rule mup needs --d and --d-base: o = d_base/d");
        }
        why += fmt::format("d_base/d = {}/{}: the head dimension grows", c.d_base, c.d);
        break;
    case MUATTN_SCALING_UMUP: break;  // which --rule refuses
    }
    const double alpha = c.alpha != 0 ? c.alpha : 1;
    print(alpha * channel_scale(rule, c.n),
          rule == MUATTN_SCALING_MUP ? channel_output_multiplier(rule, c.d, c.d_base) : 1, why + of_alpha(c));
}

// Returns its options.
std::pair<CLI::App *, std::shared_ptr<Case>> add_case(CLI::App &scale, const char *name, const char *about,
                                                      const std::vector<std::string> &rules, bool needs_d,
                                                      void (*run)(const Case &)) {
    auto &verb = *scale.add_subcommand(name, about);
    const auto c = std::make_shared<Case>();
    verb.add_option("--rule", c->rule, "default: sp")->check(CLI::IsMember(rules));
    verb.add_option("--d", c->d, "head dimension")->required(needs_d);
    verb.add_option("--n", c->n, "number of tokens")->required(!needs_d);
    verb.add_option("--d-base", c->d_base, "head dimension of the muP base model");
    verb.add_option("--alpha", c->alpha, "factor on s; default: 1")->check(above_0);
    verb.callback([c, run] { run(*c); });
    return {&verb, c};
}

}  // namespace

void add_scale(CLI::App &app) {
    auto &scale = *app.add_subcommand("scale", "logit scale s and output multiplier o of a scaling rule");
    scale.require_subcommand(1);
    scale.footer(R"(
rule        spatial s                              spatial o   channel s   channel o
sp          1/sqrt(d)                              1           1/sqrt(n)   1
mup         sqrt(d_base)/d^p; 1/d^p without base   1           1/sqrt(n)   d_base/d
mup_heads   1/sqrt(d)                              1           1/sqrt(n)   1
mup_mean    -                                      -           1/sqrt(n)   1
umup        1/d                                    1/sigma     -           -

mup: the head dimension grows with width; p is --power, 1; mup_heads: the number of heads does; mup_mean: as mup, without the
channel division; umup: unit-scaled muP, with the sigma of the package unit_scaling. Every s is that times --alpha.)");
    const auto [spatial, c] =
        add_case(scale, "spatial", "needs --d; umup also --n, the keys", kSpatialScalings, true, scale_spatial);
    spatial->add_option("--power", c->power, "p of mup; default: 1")->check(above_0);
    spatial->add_flag("--causal", c->causal, "umup's o is that of causal attention");
    add_case(scale, "channel", "needs --n; mup also --d and --d-base", kChannelScalings, false, scale_channel);
}

}  // namespace muattn::cli
