#include "directions.h"

#include "measure.h"
#include "problems.h"

using nlohmann::json;

void spatial_forward(benchmark::State &state, const json &shape, int threads) {
    const SpatialProblem p(shape);
    const Work work{2.0 * double(p.d + p.d_v) * p.pairs(), float_bytes({&p.q, &p.k, &p.v, &p.out}) + p.mask.bytes()};
    measure(state, shape, threads, work, [&] {
        muattn::spatial_attention(p.q_like(p.q), p.k_like(p.k), p.v_like(p.v), p.out_like(p.out), p.options);
    });
}

void channel_forward(benchmark::State &state, const json &shape, int threads) {
    const ChannelProblem p(shape);
    const Work work{4.0 * double(p.B * p.H * p.n * p.d * p.d), float_bytes({&p.q, &p.k, &p.v, &p.out})};
    measure(state, shape, threads, work,
            [&] { muattn::channel_attention(p.like(p.q), p.like(p.k), p.like(p.v), p.like(p.out), p.options); });
}
