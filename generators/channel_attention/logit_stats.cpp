// Statistics of the logits of channel attention, per row of the map, from sums of products of channels: s S[i, j] / (|Q_i| |K_j|). Rows lie
// in the vector lanes, as in softmax.cpp; a task takes some rows.
#include "logit_stats.h"

#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/numbers.h"
#include "generators/common/row_stats.h"
#include "schedules/channel_attention/logit_stats_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelLogitStats : public KernelGenerator<ChannelLogitStats>, ChannelLogitStatsStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelMapRows> numbers;

    Input<Buffer<float, 2>> s{"s"};  // (i, j), whole vectors of rows
    // |Q_i|^2, |K_j|^2; 1 where they are not normalised
    Input<Buffer<float, 1>> q_squares{"q_squares"}, k_squares{"k_squares"};
    Input<float> scale{"scale"};
    Output<Func> stats{"stats", std::vector<Type>(kRowSums, Float(32)), 1};

    void generate() {
        params = overridden(schedule::ChannelMapRows::defaults(schedule::machine(machine)), numbers.values());
        const Expr columns = s.dim(1).extent();
        r_m = RDom(0, columns, "r_m");
        r_j = RDom(0, columns, "r_j");
        rq(i) = inverse_norm(q_squares(i));
        rk(j) = inverse_norm(k_squares(min(likely(j), columns - 1)));
        // Strict: the maximum and the exponentials are to see the same logits as softmax.cpp's.
        const Expr to_log2 = strict_float(scale * kLog2E);
        S(i, j) = strict_float(s(i, j) * rq(i) * (rk(j) * to_log2));
        M(i) = -std::numeric_limits<float>::max();
        M(i) = max(M(i), S(i, r_m));
        sums(i) = Tuple(std::vector<Expr>(kRowSums, 0.0f));
        std::vector<Expr> terms = row_terms(S(i, r_j), M(i), get_target()), sums_of_row;
        for (int sum = 0; sum < kRowSums; sum++) {
            terms[sum] += sums(i)[sum];
            sums_of_row.push_back(sums(i)[sum]);
        }
        sums(i) = Tuple(terms);
        out(i) = row_stats(sums_of_row, M(i));
        stats = out;
    }

    void schedule() {
        const Expr rows = s.dim(0).extent();
        q_squares.dim(0).set_bounds(0, rows);
        k_squares.dim(0).set_bounds(0, s.dim(1).extent());
        s.dim(0).set_bounds(0, rows / params.lanes * params.lanes);
        s.dim(1).set_min(0);
        out.output_buffers()[0].dim(0).set_bounds(0, rows);
        schedule_channel_logit_stats_cpu(*this, params);
    }

private:
    schedule::ChannelMapRows params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelLogitStats, channel_attention_logit_stats)
