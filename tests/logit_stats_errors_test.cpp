// Statistics of logits: every rule of muattn.h broken in turn. The status and the message name the argument, and nothing is written.
#include <functional>
#include <optional>

#include "support/backends.h"
#include "support/faults.h"
#include "support/logit_stats.h"

namespace muattn::test {
namespace {

struct Arguments {
    std::optional<muattn_tensor> q, k, stats;
    muattn_spatial_options spatial{};
    muattn_channel_options channel{};
};

const muattn_tensor *pointer(const std::optional<muattn_tensor> &t) { return t ? &*t : nullptr; }

class LogitStatsErrors : public WithSettings {
protected:
    LogitStatsErrors()
        : q({2, 4, 6, 5}, token_major()), k({2, 4, 6, 5}, token_major()), stats(make_stats(2, 4, padded())) {
        q.fill(1);
        k.fill(1);
    }

    using Damage = std::function<void(Arguments &)>;
    void expect(const Damage &damage, muattn_status status, const std::string &says, bool of_spatial = true,
                bool of_channel = true) {
        SCOPED_TRACE(says);
        const WriteWatch watch(stats);
        Arguments a{q.view(), k.view(), stats.view()};
        damage(a);
        const auto is_refused = [&](muattn_status got) {
            EXPECT_EQ(got, status) << muattn_last_error();
            EXPECT_NE(std::string(muattn_last_error()).find(says), std::string::npos) << muattn_last_error();
            EXPECT_EQ(watch.changes(), 0);
        };
        if (of_spatial) {
            is_refused(muattn_spatial_logit_stats(pointer(a.q), pointer(a.k), &a.spatial, pointer(a.stats)));
        }
        if (of_channel) {
            is_refused(muattn_channel_logit_stats(pointer(a.q), pointer(a.k), &a.channel, pointer(a.stats)));
        }
    }

    Tensor q, k, stats;
};

TEST_F(LogitStatsErrors, Tensors) {
    struct {
        std::optional<muattn_tensor> Arguments::*tensor;
        muattn_status status;
        const char *name;
    } const tensors[] = {{&Arguments::q, MUATTN_INVALID_Q, "q"},
                         {&Arguments::k, MUATTN_INVALID_K, "k"},
                         {&Arguments::stats, MUATTN_INVALID_STATS, "stats"}};
    for (const auto &t : tensors) {
        expect([&](Arguments &a) { (a.*t.tensor).reset(); }, t.status, std::string(t.name) + " must not be null");
        for (const auto &faults : {tensor_faults(), inner_stride_faults()}) {
            for (const TensorFault &fault : faults) {
                muattn_tensor damaged = stats.view();
                fault.damage(damaged);
                const bool only_one_index = damaged.strides[2] != stats.view().strides[2] && damaged.shape[2] == 1;
                if (t.status == MUATTN_INVALID_STATS && only_one_index) {
                    continue;  // whose stride is free
                }
                expect([&](Arguments &a) { fault.damage(*(a.*t.tensor)); }, t.status, fault.says);
            }
        }
    }
    expect([](Arguments &a) { a.k->shape[3] = 4; }, MUATTN_INVALID_K, "k.shape[3] (d)");
    expect([](Arguments &a) { a.k->shape[0] = 1; }, MUATTN_INVALID_K, "k.shape[0] (B)");
    expect([](Arguments &a) { a.k->shape[1] = 3; }, MUATTN_INVALID_K, "k.shape[1] (H", true, true);
    expect([](Arguments &a) { a.stats->shape[0] = 1; }, MUATTN_INVALID_STATS, "stats.shape[0] (B) must equal q's");
    expect([](Arguments &a) { a.stats->shape[1] = 3; }, MUATTN_INVALID_STATS, "stats.shape[1] (H) must equal q's");
    expect([](Arguments &a) { a.stats->shape[2] = 4; }, MUATTN_INVALID_STATS, "stats.shape[2]");
    expect([](Arguments &a) { a.stats->shape[3] = 5; }, MUATTN_INVALID_STATS, "stats.shape[3] (numbers) must be: 4");
    expect([](Arguments &a) { a.stats->strides[0] = 0; }, MUATTN_INVALID_STATS, "two indices must not share");
    expect([&](Arguments &a) { a.stats->data = a.q->data; }, MUATTN_INVALID_STATS, "stats must not overlap q");
    expect([&](Arguments &a) { a.stats->data = a.k->data; }, MUATTN_INVALID_STATS, "stats must not overlap k");
}

TEST_F(LogitStatsErrors, Options) {
    expect([](Arguments &a) { a.spatial.softcap = -1; }, MUATTN_INVALID_SOFTCAP, "softcap", true, false);
    expect([](Arguments &a) { a.spatial.causal = unknown_value<muattn_causal>(); }, MUATTN_INVALID_CAUSAL, "causal",
           true, false);
    expect([](Arguments &a) { a.spatial.scaling = MUATTN_SCALING_MUP_MEAN; }, MUATTN_INVALID_SCALING, "scaling", true,
           false);
    expect([](Arguments &a) { a.channel.scaling = unknown_value<muattn_scaling>(); }, MUATTN_INVALID_SCALING, "scaling",
           false);
    expect([](Arguments &a) { a.channel.layout = unknown_value<muattn_layout>(); }, MUATTN_INVALID_LAYOUT, "layout",
           false);
    expect([](Arguments &a) { a.channel.tokens = -1; }, MUATTN_INVALID_TOKENS, "tokens", false);
    const float scale = 1;
    expect(
        [&](Arguments &a) {
            a.spatial.scale = a.channel.scale = &scale;
            a.spatial.scale_count = a.channel.scale_count = 2;
        },
        MUATTN_INVALID_SCALE, "scale_count");
}

}  // namespace
}  // namespace muattn::test
