// The gradient of channel attention's map: from the attention map A and its gradient dA = o m, that of the products of channels. With norms
// |Q_i| and |K_j|, which are 1 where channels are not normalised,
//   D_i = sum_j A_ij m_ij,  w_ij = o A_ij (m_ij - D_i) / (|Q_i| |K_j|),  g_i = sum_j w_ij S_ij,
//   c_q_i = -g_i / |Q_i|^2,  c_k_j = -sum_i w_ij S_ij / |K_j|^2, or 0 where a norm is below eps:
// Q's gradient is s (sum_j w_ij K_j + c_q_i Q_i), K's is s (sum_i w_ij Q_i + c_k_j K_j), the scale's sum_i g_i, that of the output
// multiplier sum_i D_i. Rows lie in the vector lanes, as in softmax.cpp; a task takes some rows, and c_k is its part.
#include "gradient.h"
#include "generators/common/generator.h"
#include "generators/common/machines.h"
#include "generators/common/math.h"
#include "generators/common/numbers.h"
#include "schedules/channel_attention/gradient_cpu.h"

namespace {

using namespace Halide;
using namespace muattn;

class ChannelGradient : public KernelGenerator<ChannelGradient>, ChannelGradientStages {
public:
    GeneratorParam<schedule::MachineName> machine{"machine", schedule::MachineName::avx2, machine_names()};
    NumberParams<schedule::ChannelMapRows> numbers;

    Input<Buffer<float, 2>> a{"a"}, s{"s"}, m{"m"};  // (i, j), whole vectors of rows
    Input<Buffer<float, 1>> q_squares{"q_squares"}, k_squares{"k_squares"};
    Input<int32_t> rows{"rows"};  // that are there; what is past them, to the end of a vector, counts for nothing
    Input<float> multiplier{"multiplier"};
    Output<Buffer<float, 2>> w_out{"w"};
    Output<Buffer<float, 1>> g_out{"g"}, d_out{"d"}, c_q_out{"c_q"}, c_k_out{"c_k"};

    void generate() {
        params = overridden(schedule::ChannelMapRows::defaults(schedule::machine(machine)), numbers.values());
        const int lanes = params.lanes;
        const Expr columns = a.dim(1).extent();
        holds_vector = columns >= lanes;
        r_j = RDom(0, columns, "r_j");
        r_v = RDom(0, a.dim(0).extent() / lanes, "r_v");
        r_l = RDom(0, lanes, "r_l");
        rq(i) = inverse_norm(q_squares(i));
        rk(j) = inverse_norm(k_squares(min(likely(j), columns - 1))) * multiplier;
        D(i) += a(i, r_j) * m(i, r_j);
        W(i, j) = a(i, j) * (m(i, j) - D(i)) * (rq(i) * rk(j));
        G(i) += W(i, r_j) * s(i, r_j);
        const Expr row = r_v * lanes + l;
        lane_sum(l, j) += select(row < rows, W(row, j) * s(row, j), 0.0f);
        c_q(i) = factor(G(i), q_squares(i));
        c_k_sum(j) += lane_sum(r_l, min(j, columns - 1));
        c_k(j) = factor(c_k_sum(j), k_squares(j));
        w_out = W;
        g_out = G;
        d_out = D;
        c_q_out = c_q;
        c_k_out = c_k;
    }

    void schedule() {
        OutputImageParam map = W.output_buffer();
        const Expr map_rows = map.dim(0).extent(), columns = map.dim(1).extent();
        for (auto *input : {&a, &s, &m}) {
            input->dim(0).set_bounds(0, map_rows);
            input->dim(1).set_bounds(0, columns);
        }
        q_squares.dim(0).set_bounds(0, map_rows);
        k_squares.dim(0).set_bounds(0, columns);
        map.dim(0).set_bounds(0, map_rows / params.lanes * params.lanes);
        map.dim(1).set_min(0);
        for (Func *of_rows : {&G, &D, &c_q}) {
            of_rows->output_buffer().dim(0).set_bounds(0, map_rows);
        }
        c_k.output_buffer().dim(0).set_bounds(0, columns);
        schedule_channel_gradient_cpu(*this, params, schedule::machine(machine).scalable);
    }

private:
    static Expr factor(const Expr &sum, const Expr &squares) {
        const Expr inverse = inverse_norm(squares);
        return select(sqrt(squares) < kNormalizeEps, 0.0f, -sum * (inverse * inverse));
    }

    schedule::ChannelMapRows params{};
};

}  // namespace

HALIDE_REGISTER_GENERATOR(ChannelGradient, channel_attention_gradient)
