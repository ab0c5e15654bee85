// Channel attention over the tokens of all ranks, against the double-precision reference of the whole: results and all gradients, within the single
// call's bounds, and twice, for the same bits.
#include <gtest/gtest.h>

#include <map>
#include <tuple>

#include "mpi/ranks.h"
#include "support/channel_gradients.h"

namespace muattn::test {
namespace {

using Case = ChannelGradientCase;

template<typename Change>
Case sized(const Change &change) {
    Case c;
    c.B = 2, c.H = 3, c.n = 37, c.d = 24;
    c.layout = token_major();
    change(c);
    return c;
}

const std::map<std::string, Case> &cases() {
    static const std::map<std::string, Case> all = {
        {"Plain", sized([](Case &) {})},
        {"ChannelsFirst", sized([](Case &c) { c.channels = MUATTN_CHANNELS_FIRST, c.layout = padded(), c.alpha = 2; })},
        {"Normalised", sized([](Case &c) {
             c.normalize = 1, c.scale = {0.5f, 0.7f, 1.1f};
         })},
        {"NormalisedFirst", sized([](Case &c) {
             c.normalize = 1, c.scale = {0.9f}, c.channels = MUATTN_CHANNELS_FIRST, c.layout = dense();
         })},
        {"Mup", sized([](Case &c) { c.scaling = MUATTN_SCALING_MUP, c.d_base = 6; })},
        {"Multiplier", sized([](Case &c) { c.output_multiplier = {0.7f}, c.scale = {0.3f}, c.layout = reversed(); })},
        {"Queries", sized([](Case &c) { c.d_k = c.d_v = c.d_scale = c.d_output_multiplier = false; })},
        {"Values", sized([](Case &c) { c.d_q = c.d_k = c.d_scale = c.d_output_multiplier = false; })},
        {"FewTokens", sized([](Case &c) { c.n = 3; })},
        {"LongerThanAChunk", sized([](Case &c) { c.B = c.H = 1, c.n = 700, c.d = 64; })},
    };
    return all;
}

class ChannelOnRanks : public testing::TestWithParam<std::tuple<std::string, Cut>> {};

TEST_P(ChannelOnRanks, Agrees) {
    const Case &c = cases().at(std::get<0>(GetParam()));
    const std::vector<distributed::Stretches> tokens = cut_tokens(c.n, std::get<1>(GetParam()));
    const distributed::Stretches &own = tokens[size_t(all_ranks().rank())];
    const bool first = c.channels == MUATTN_CHANNELS_FIRST;
    const ChannelGradientTensors t = make_tensors(c);
    const Layout to = for_output(c.layout);
    const Tensor q = part_of(t.forward.q, own, c.layout, first), k = part_of(t.forward.k, own, c.layout, first),
                 v = part_of(t.forward.v, own, c.layout, first), d_out = part_of(t.d_out, own, c.layout, first),
                 out = new_part(t.forward.out, own, to, first), d_q = new_part(t.d_q, own, to, first),
                 d_k = new_part(t.d_k, own, to, first), d_v = new_part(t.d_v, own, to, first);
    const ChannelOptions options = c.options();
    mpi::ChannelSums sums;
    expect_agrees(c, t.forward, [&] {
        expect_the_same_bits_twice([&] {
            out.fill(untouched());
            mpi::channel_attention(all_ranks(), q.view(), k.view(), v.view(), out.view(), options, &sums);
            return out.elements();
        });
        put_together(t.forward.out, out, tokens, first);
        return MUATTN_OK;
    });
    expect_agrees(c, t, [&] {
        const muattn_tensor views[] = {d_q.view(), d_k.view(), d_v.view()};
        ChannelGradients gradients{};
        gradients.d_q = c.d_q ? &views[0] : nullptr;
        gradients.d_k = c.d_k ? &views[1] : nullptr;
        gradients.d_v = c.d_v ? &views[2] : nullptr;
        gradients.d_scale = c.d_scale ? t.d_scale->data() : nullptr;
        gradients.d_output_multiplier = c.d_output_multiplier ? t.d_output_multiplier->data() : nullptr;
        expect_the_same_bits_twice([&] {
            for (const Tensor *gradient : {&d_q, &d_k, &d_v}) {
                gradient->fill(untouched());
            }
            t.reset();
            mpi::channel_attention_backward(all_ranks(), q.view(), k.view(), v.view(), d_out.view(), sums, gradients,
                                            options);
            return joined({d_q.elements(), d_k.elements(), d_v.elements(), *t.d_scale, *t.d_output_multiplier});
        });
        const Tensor *const wholes[] = {&t.d_q, &t.d_k, &t.d_v}, *const parts[] = {&d_q, &d_k, &d_v};
        const bool wanted[] = {c.d_q, c.d_k, c.d_v};
        for (int i = 0; i < 3; i++) {
            if (wanted[i]) {
                put_together(*wholes[i], *parts[i], tokens, first);
            }
        }
        if (c.d_scale) {
            add_up(t.d_scale->data(), c.H);
        }
        if (c.d_output_multiplier) {
            add_up(t.d_output_multiplier->data(), 1);
        }
        return MUATTN_OK;
    });
}

INSTANTIATE_TEST_SUITE_P(, ChannelOnRanks,
                         testing::Combine(testing::ValuesIn(names_of(cases())),
                                          testing::Values(Cut::even, Cut::uneven, Cut::zigzag)),
                         [](const auto &of) { return std::get<0>(of.param) + name_of(std::get<1>(of.param)); });

}  // namespace
}  // namespace muattn::test
