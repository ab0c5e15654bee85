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
};

void print(double s, double o, const std::string &why) {
    // The precision with which the library uses them.
    fmt::print("s    {}\no    {}\nwhy  {}\n", float(s), float(o), why);
}

void scale_spatial(const Case &c) {
    const muattn_scaling rule = scaling_value("--rule", c.rule);
    std::string why = fmt::format("s = 1/sqrt(d) = 1/sqrt({})", c.d);
    if (rule == MUATTN_SCALING_SP) {
        why += ": standard parametrization";
    } else if (rule == MUATTN_SCALING_MUP_HEADS) {
        why += ": the number of heads grows, d is fixed";
    } else if (c.d_base != 0) {
        why = fmt::format("s = sqrt(d_base)/d = sqrt({})/{}: the head dimension grows, equal to sp at d = d_base",
                          c.d_base, c.d);
    } else {
        why = fmt::format("s = 1/d = 1/{}: the head dimension grows, no base model given", c.d);
    }
    print(spatial_scale(rule, c.d, c.d_base), 1, why);
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
    }
    print(channel_scale(rule, c.n), rule == MUATTN_SCALING_MUP ? channel_output_multiplier(rule, c.d, c.d_base) : 1,
          why);
}

void add_case(CLI::App &scale, const char *name, const char *about, const std::vector<std::string> &rules, bool needs_d,
              void (*run)(const Case &)) {
    auto &verb = *scale.add_subcommand(name, about);
    const auto c = std::make_shared<Case>();
    verb.add_option("--rule", c->rule, "default: sp")->check(CLI::IsMember(rules));
    verb.add_option("--d", c->d, "head dimension")->required(needs_d);
    verb.add_option("--n", c->n, "number of tokens")->required(!needs_d);
    verb.add_option("--d-base", c->d_base, "head dimension of the muP base model");
    verb.callback([c, run] { run(*c); });
}

}  // namespace

void add_scale(CLI::App &app) {
    auto &scale = *app.add_subcommand("scale", "logit scale s and output multiplier o of a scaling rule");
    scale.require_subcommand(1);
    scale.footer(R"(
rule        spatial s                          channel s   channel o
sp          1/sqrt(d)                          1/sqrt(n)   1
mup         sqrt(d_base)/d; 1/d without base   1/sqrt(n)   d_base/d
mup_heads   1/sqrt(d)                          1/sqrt(n)   1
mup_mean    -                                  1/sqrt(n)   1

mup: the head dimension grows with width; mup_heads: the number of heads does; mup_mean: as mup, without the channel
division.)");
    add_case(scale, "spatial", "needs --d; --n does not matter", kSpatialScalings, true, scale_spatial);
    add_case(scale, "channel", "needs --n; mup also --d and --d-base", kChannelScalings, false, scale_channel);
}

}  // namespace muattn::cli
