// The attention map of channel attention, from sums of products of channels: A[i, j] = softmax_j(s S[i, j] / (|Q_i| |K_j|)). Rows lie in
// the vector lanes: the map is read and written transposed, a row's elements one after the other in j. A task takes some rows.
#include "softmax.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/softmax_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelSoftmax : public KernelGenerator<ChannelSoftmax>, ChannelSoftmaxStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelMapRows> numbers;

    Input<Buffer<float, 2>> s{"s"};  // (i, j), whole vectors of rows
    // |Q_i|^2, |K_j|^2; 1 where they are not normalised
    Input<Buffer<float, 1>> q_squares{"q_squares"}, k_squares{"k_squares"};
    Input<float> scale{"scale"};
    Output<Buffer<float, 2>> output{"a"};  // (i, j)

    void generate() {
        params = overridden(schedule::ChannelMapRows::defaults(schedule::machine(machine)), numbers.values());
        const Expr columns = s.dim(1).extent();
        r_j = RDom(0, columns, "r_j");
        rq(i) = inverse_norm(q_squares(i));
        rk(j) = inverse_norm(k_squares(min(likely(j), columns - 1)));
        // Strict: the maximum and the exponentials have loops of their own, and are to see the same logits.
        const Expr to_log2 = strict_float(scale * kLog2E);
        logit(i, j) = strict_float(s(i, j) * rq(i) * (rk(j) * to_log2));
        M(i) = -std::numeric_limits<float>::max();
        M(i) = max(M(i), logit(i, r_j));
        P(i, j) = exp2_nonpositive(logit(i, j) - M(i), get_target());
        L(i) += P(i, r_j);
        R(i) = 1.0f / L(i);
        out(i, j) = P(i, j) * R(i);
        output = out;
    }

    void schedule() {
        OutputImageParam map = out.output_buffer();
        s.dim(0).set_bounds(0, map.dim(0).extent());
        s.dim(1).set_bounds(0, map.dim(1).extent());
        q_squares.dim(0).set_bounds(0, map.dim(0).extent());
        k_squares.dim(0).set_bounds(0, map.dim(1).extent());
        map.dim(0).set_bounds(0, map.dim(0).extent() / params.lanes * params.lanes);
        map.dim(1).set_min(0);
        schedule_channel_softmax_cpu(*this, params);
    }

private:
    schedule::ChannelMapRows params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelSoftmax, channel_attention_softmax)
