// Channel attention, forward, as channels_last.cpp has it, in tiles for a GPU: both products go tile by tile, the sum of
// each in steps. The tokens are shared out among spans first, so that a few small maps still give many tiles to compute at
// once; the parts of the map are then summed, span by span.
#include "tiles.h"

#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "inputs.h"
#include "schedules/channel_attention/tiles_gpu.h"
#include "schedules/common/features.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelTiles : public ChannelAttentionGenerator<ChannelTiles>, ChannelTilesStages {
public:
    NumberParams<schedule::ChannelTiles> numbers;
    GeneratorParam<Layout> layout{
        "with_layout",
        Layout::channels_last,
        {{"channels_last", Layout::channels_last}, {"channels_first", Layout::channels_first}}};
    Input<int32_t> span_steps{"span_steps"};  // steps of tokens to a span

    void generate() {
        params = overridden(schedule::ChannelTiles::defaults(schedule::machine(machine)), numbers.values());
        _halide_user_assert(params.shared_bytes() <= schedule::machine(machine).shared_bytes)
            << "tiles take " << params.shared_bytes() << " bytes of shared memory";
        channels_first = layout == Layout::channels_first;
        const int tokens = params.step;

        const Expr d = q.dim(channels_first ? 1 : 0).extent(), n = q.dim(channels_first ? 0 : 1).extent();
        const auto at = [&](const Func &x, const Expr &channel, const Expr &t) {
            const Expr inside = channel < d && t < n, c = min(channel, d - 1), u = min(t, n - 1);
            return select(inside, channels_first ? x(u, c, h, b) : x(c, u, h, b), 0.0f);
        };
        const Expr spans = (n + span_steps * tokens - 1) / (span_steps * tokens);
        const Expr staged = (s * span_steps + t) * tokens + u;
        Q(i, u, t, s, h, b) = at(q, i, staged);
        K(j, u, t, s, h, b) = at(k, j, staged);
        r_u = RDom(0, tokens, "r_u");
        r_t = RDom(0, span_steps, "r_t");
        r_t.where((s * span_steps + r_t) * tokens < n);
        r_s = RDom(0, spans, "r_s");
        product(i, j, t, s, h, b) += Q(i, r_u, t, s, h, b) * K(j, r_u, t, s, h, b);
        span(i, j, s, h, b) += product(i, j, r_t, s, h, b);
        QK(i, j, s, h, b) = span(i, j, s, h, b);

        S_sum(i, j, h, b) += QK(i, j, r_s, h, b);
        Expr factor = scale(h) * kLog2E;
        if (with_normalize) {
            r_n = RDom(0, span_steps * tokens, "r_n");
            const Expr token_n = s * span_steps * tokens + r_n;
            QQ_span(i, s, h, b) += square(at(q, i, token_n));
            KK_span(j, s, h, b) += square(at(k, j, token_n));
            QQ_sum(i, h, b) += QQ_span(i, r_s, h, b);
            KK_sum(j, h, b) += KK_span(j, r_s, h, b);
            QQ(i, h, b) = max(sqrt(QQ_sum(i, h, b)), kNormalizeEps);
            KK(j, h, b) = max(sqrt(KK_sum(j, h, b)), kNormalizeEps);
            factor = factor / (QQ(i, h, b) * KK(j, h, b));
        }
        S(i, j, h, b) = S_sum(i, j, h, b) * factor;

        r_j = RDom(0, d, "r_j");
        M_max(i, h, b) = -std::numeric_limits<float>::max();
        M_max(i, h, b) = max(M_max(i, h, b), S(i, r_j, h, b));
        M(i, h, b) = M_max(i, h, b);
        P(i, j, h, b) = exp2_nonpositive(S(i, j, h, b) - M(i, h, b), get_target());
        L_sum(i, h, b) += P(i, r_j, h, b);
        R(i, h, b) = output_multiplier / L_sum(i, h, b);

        // Rows past the end repeat the last one; what they give is not part of the output.
        const Expr column = t * tokens + l;
        P_step(i, l, t, h, b) = select(column < d, P(min(i, d - 1), min(column, d - 1), h, b), 0.0f);
        V_step(l, token, t, h, b) = at(v, column, token);
        r_l = RDom(0, tokens, "r_l");
        r_c = RDom(0, (d + tokens - 1) / tokens, "r_c");
        PV(i, token, t, h, b) += P_step(i, r_l, t, h, b) * V_step(r_l, token, t, h, b);
        O(i, token, h, b) += PV(i, token, r_c, h, b);
        const Expr o = O(i, token, h, b) * R(min(i, d - 1), h, b);
        if (channels_first) {
            out(token, i, h, b) = o;
        } else {
            out(i, token, h, b) = o;
        }
        output = out;
    }

    void schedule() {
        declare_shapes(out);
        schedule_channel_tiles_gpu(*this, params, channels_first);
    }

private:
    static Expr square(const Expr &x) { return x * x; }

    bool channels_first = false;  // tokens innermost
    schedule::ChannelTiles params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelTiles, channel_attention_tiles)
