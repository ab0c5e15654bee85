// Spatial attention over the tokens of all ranks, against the double-precision reference of the whole: results and all gradients, within the
// single call's bounds, and twice, for the same bits.
#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <tuple>

#include "mpi/ranks.h"
#include "support/spatial_gradients.h"

namespace muattn::test {
namespace {

SpatialBackwardCase sized(int64_t Hk = 4, int64_t n_q = 19, int64_t n_k = 23, int64_t d = 16, int64_t d_v = 9) {
    SpatialBackwardCase c;
    c.B = 2, c.H = 12, c.Hk = Hk, c.n_q = n_q, c.n_k = n_k, c.d = d, c.d_v = d_v;
    c.scale = {0.3f};
    c.layout = token_major();
    return c;
}

template<typename Change>
SpatialBackwardCase with(SpatialBackwardCase c, const Change &change) {
    change(c);
    return c;
}

using Case = SpatialBackwardCase;

// By name. H and Hk are multiples of 1 to 4 ranks, or else not for Ulysses.
const std::map<std::string, Case> &cases() {
    static const std::map<std::string, Case> all = {
        {"Plain", sized(12)},
        {"RuleOfAllTokens", with(sized(12), [](Case &c) { c.scale.clear(), c.scaling = MUATTN_SCALING_UMUP; })},
        {"CausalGrouped", with(sized(12, 23), [](Case &c) { c.H = 24, c.causal = MUATTN_CAUSAL_TOP_LEFT; })},
        {"BottomRight", with(sized(12), [](Case &c) { c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT, c.layout = padded(); })},
        {"Window", with(sized(12, 23),
                        [](Case &c) {
                            c.window = {1, 4, 2};
                        })},
        {"LeftWindow", with(sized(12),
                            [](Case &c) {
                                c.window = {1, 3, -1};
                            })},
        {"RightWindow", with(sized(12),
                             [](Case &c) {
                                 c.window = {1, -1, 3}, c.layout = reversed();
                             })},
        {"CausalWindow", with(sized(12, 23),
                              [](Case &c) {
                                  c.window = {1, 5, 1}, c.causal = MUATTN_CAUSAL_TOP_LEFT;
                              })},
        {"Offsets", with(sized(12),
                         [](Case &c) {
                             c.window = {1, 6, -1}, c.causal = MUATTN_CAUSAL_OFFSET, c.causal_offsets = {3, -9};
                         })},
        {"Lengths", with(sized(12),
                         [](Case &c) {
                             c.key_lengths = {7, 22};
                         })},
        {"LengthsBottomRight", with(sized(12),
                                    [](Case &c) {
                                        c.key_lengths = {9, 22}, c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
                                    })},
        {"AllThatHasAGradient", with(sized(12),
                                     [](Case &c) {
                                         c.H = 24, c.causal = MUATTN_CAUSAL_OFFSET, c.causal_offset = -2, c.softcap = 2;
                                         c.output_multiplier = {0.7f};
                                         c.scale.clear(), c.sink.clear();
                                         for (int h = 0; h < 24; h++) {
                                             c.scale.push_back(0.1f + 0.02f * float(h));
                                             c.sink.push_back(0.3f * float(h % 5) - 0.5f);
                                         }
                                     })},
        {"MultiplierOf0", with(sized(12), [](Case &c) { c.output_multiplier = {0.0f}, c.with_d_lse = false; })},
        {"OfQueriesAlone", with(sized(12), [](Case &c) { c.wants_k = c.wants_v = c.wants_scale = false; })},
        {"OfKeysAlone",
         with(sized(12, 23), [](Case &c) { c.wants_q = c.wants_v = false, c.causal = MUATTN_CAUSAL_TOP_LEFT; })},
        {"OfScalesAlone", with(sized(12), [](Case &c) { c.wants_q = c.wants_k = c.wants_v = false; })},
        {"FewTokens", with(sized(12, 3, 3), [](Case &c) { c.causal = MUATTN_CAUSAL_TOP_LEFT; })},
        {"OneToken", sized(12, 1, 1)},
        {"LongerThanATile",
         with(sized(12, 301, 301, 64, 64), [](Case &c) { c.B = 1, c.causal = MUATTN_CAUSAL_TOP_LEFT; })},
    };
    return all;
}

// What every rank has of a sequence.
struct Parts {
    std::vector<distributed::Stretches> queries, keys;
    Tensor q, k, v, out, lse, d_out, d_lse, d_q, d_k, d_v;

    Parts(const Case &c, const SpatialGradientTensors &t, Cut cut)
        : queries(cut_tokens(c.n_q, cut)), keys(cut_tokens(c.n_k, cut, 1)) {
        const size_t rank = size_t(all_ranks().rank());
        const Layout &in = c.layout, to = for_output(c.layout);
        q = part_of(t.inputs.q, queries[rank], in), k = part_of(t.inputs.k, keys[rank], in);
        v = part_of(t.inputs.v, keys[rank], in);
        out = part_of(t.inputs.out, queries[rank], to), lse = part_of(t.inputs.lse, queries[rank], to);
        d_out = part_of(t.d_out, queries[rank], in), d_lse = part_of(t.d_lse, queries[rank], in);
        d_q = new_part(t.d_q, queries[rank], to), d_k = new_part(t.d_k, keys[rank], to);
        d_v = new_part(t.d_v, keys[rank], to);
    }
};

// One way to compute the whole; the gradients are those of the reference's out and lse.
struct Way {
    std::function<void(const Parts &, const Case &, const SpatialOptions &, Cut)> forward;
    std::function<void(const Parts &, const Case &, const SpatialOptions &, Cut, const SpatialGradients &)> backward;
};

Way ring() {
    return {
        [](const Parts &p, const Case &, const SpatialOptions &options, Cut cut) {
            mpi::ring_attention(all_ranks(), p.q.view(), p.k.view(), p.v.view(), p.out.view(), p.lse.view(), options,
                                balance_of(cut));
        },
        [](const Parts &p, const Case &c, const SpatialOptions &options, Cut cut, const SpatialGradients &gradients) {
            const muattn_tensor d_lse = p.d_lse.view();
            mpi::ring_attention_backward(all_ranks(), p.q.view(), p.k.view(), p.v.view(), p.out.view(), p.lse.view(),
                                         p.d_out.view(), gradients, options, balance_of(cut),
                                         c.with_d_lse ? &d_lse : nullptr);
        }};
}

Way ulysses() {
    return {
        [](const Parts &p, const Case &, const SpatialOptions &options, Cut cut) {
            mpi::ulysses_attention(all_ranks(), p.q.view(), p.k.view(), p.v.view(), p.out.view(), p.lse.view(), options,
                                   balance_of(cut));
        },
        [](const Parts &p, const Case &c, const SpatialOptions &options, Cut cut, const SpatialGradients &gradients) {
            const Tensor out = new_part(p.out, {{0, p.out.size(2)}}, dense());
            mpi::UlyssesHeads heads;
            mpi::ulysses_attention(all_ranks(), p.q.view(), p.k.view(), p.v.view(), out.view(), options,
                                   balance_of(cut), &heads);
            mpi::detail::HeadExchange exchange(all_ranks().messages(), "test");
            exchange.to_heads(p.out.view(), p.queries, heads.out);
            exchange.to_heads(p.lse.view(), p.queries, heads.lse);
            exchange.wait();
            const muattn_tensor d_lse = p.d_lse.view();
            mpi::ulysses_attention_backward(all_ranks(), heads, p.d_out.view(), gradients, options,
                                            c.with_d_lse ? &d_lse : nullptr);
        }};
}

void expect_way_agrees(const Way &way, const Case &c, Cut cut) {
    SCOPED_TRACE(name_of(cut));
    const SpatialGradientTensors t = make_gradient_tensors(c);
    muattn_tensor mask{};
    const SpatialOptions options = options_with_mask(c, t.inputs, mask);

    const SpatialTensors whole = make_tensors(c);
    expect_agrees(c, whole, [&] {
        const Parts p(c, t, cut);
        expect_the_same_bits_twice([&] {
            p.out.fill(untouched());
            p.lse.fill(untouched());
            way.forward(p, c, options, cut);
            return joined({p.out.elements(), p.lse.elements()});
        });
        put_together(whole.out, p.out, p.queries);
        put_together(whole.lse, p.lse, p.queries);
        return MUATTN_OK;
    });

    expect_gradients_agree(c, t, [&] {
        const Parts p(c, t, cut);
        const muattn_tensor d_q = p.d_q.view(), d_k = p.d_k.view(), d_v = p.d_v.view(), d_mask = t.d_mask.view();
        SpatialGradients gradients{};
        gradients.d_q = c.wants_q ? &d_q : nullptr, gradients.d_k = c.wants_k ? &d_k : nullptr;
        gradients.d_v = c.wants_v ? &d_v : nullptr;
        gradients.d_scale = c.wants_scale ? t.d_scale.data() : nullptr;
        gradients.d_mask = c.has_d_mask() ? &d_mask : nullptr;
        gradients.d_sink = c.has_d_sink() ? t.d_sink.data() : nullptr;
        gradients.d_output_multiplier = c.has_d_output_multiplier() ? t.d_output_multiplier.data() : nullptr;
        expect_the_same_bits_twice([&] {
            t.clear();
            for (const Tensor *gradient : {&p.d_q, &p.d_k, &p.d_v}) {
                gradient->fill(untouched());
            }
            way.backward(p, c, options, cut, gradients);
            return joined({p.d_q.elements(), p.d_k.elements(), p.d_v.elements(), t.results()});
        });
        const struct {
            bool wanted;
            const Tensor &whole, &part;
            const std::vector<distributed::Stretches> &places;
        } of_tokens[] = {
            {c.wants_q, t.d_q, p.d_q, p.queries}, {c.wants_k, t.d_k, p.d_k, p.keys}, {c.wants_v, t.d_v, p.d_v, p.keys}};
        for (const auto &gradient : of_tokens) {
            if (gradient.wanted) {
                put_together(gradient.whole, gradient.part, gradient.places);
            }
        }
        if (c.wants_scale) {
            add_up(t.d_scale.data(), c.H);
        }
        if (c.has_d_sink()) {
            add_up(t.d_sink.data(), c.H);
        }
        if (c.has_d_output_multiplier()) {
            add_up(t.d_output_multiplier.data(), 1);
        }
        if (c.has_d_mask()) {
            add_up(t.d_mask);
        }
        return MUATTN_OK;
    });
}

class SpatialOnRanks : public testing::TestWithParam<std::tuple<std::string, Cut>> {};

TEST_P(SpatialOnRanks, Ring) {
    expect_way_agrees(ring(), cases().at(std::get<0>(GetParam())), std::get<1>(GetParam()));
}

TEST_P(SpatialOnRanks, Ulysses) {
    expect_way_agrees(ulysses(), cases().at(std::get<0>(GetParam())), std::get<1>(GetParam()));
}

INSTANTIATE_TEST_SUITE_P(, SpatialOnRanks,
                         testing::Combine(testing::ValuesIn(names_of(cases())),
                                          testing::Values(Cut::even, Cut::uneven, Cut::zigzag)),
                         [](const auto &of) { return std::get<0>(of.param) + name_of(std::get<1>(of.param)); });

// Which heads there are does not matter to the ring.
TEST(SpatialOnAllRanks, RingTakesAnyNumberOfHeads) {
    Case c = sized(1, 20, 31);
    c.H = 3;
    expect_way_agrees(ring(), c, Cut::uneven);
}

// A mask has all ranks' tokens, and all heads or one.
TEST(SpatialOnAllRanks, UlyssesTakesMasks) {
    for (Case::Mask kind : {Case::additive, Case::boolean}) {
        for (const std::array<bool, 4> &full : {std::array<bool, 4>{true, true, true, true},
                                                {true, false, false, true},
                                                {false, false, true, true},
                                                {false, true, true, false}}) {
            Case c = sized(12);
            c.mask = kind, c.mask_full = full;
            expect_way_agrees(ulysses(), c, Cut::uneven);
        }
    }
}

// No tokens at all, or no batch entry.
TEST(SpatialOnAllRanks, NothingToDo) {
    for (const auto &[B, n] : {std::pair<int64_t, int64_t>{0, 7}, {2, 0}}) {
        Case c = sized(12, n, n);
        c.B = B;
        expect_way_agrees(ring(), c, Cut::even);
        expect_way_agrees(ulysses(), c, Cut::even);
    }
}

}  // namespace
}  // namespace muattn::test
