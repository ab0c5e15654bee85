#include "directions.h"
#include "measure.h"
#include "problems.h"

using nlohmann::json;

void spatial_backward(benchmark::State &state, const json &shape, int threads) {
    const SpatialProblem p(shape);
    const Floats d_out = random_floats(static_cast<int64_t>(p.out.size()));
    const Floats lse(static_cast<size_t>(p.B * p.H * p.n_q));
    const Floats d_q = room_for(p.q), d_k = room_for(p.k), d_v = room_for(p.v);
    const muattn_tensor q = p.q_like(p.q), k = p.k_like(p.k), v = p.v_like(p.v), out = p.out_like(p.out);
    const muattn_tensor of_lse = muattn::tensor(lse.data(), {p.B, p.H, p.n_q, 1}), of_d_out = p.out_like(d_out);
    const muattn_tensor of_d_q = p.q_like(d_q), of_d_k = p.k_like(d_k), of_d_v = p.v_like(d_v);
    muattn_spatial_gradients gradients{};
    gradients.d_q = &of_d_q, gradients.d_k = &of_d_k, gradients.d_v = &of_d_v;
    try {
        muattn::spatial_attention(q, k, v, out, of_lse, p.options);
    } catch (const std::exception &error) {
        return state.SkipWithError(error.what());
    }
    // S, d_q and d_k have sums over d; the products for dP and d_v have d_v in its place.
    const Work work{2.0 * double(3 * p.d + 2 * p.d_v) * p.pairs(),
                    float_bytes({&p.q, &p.k, &p.v, &p.out, &lse, &d_out, &d_q, &d_k, &d_v}) + p.mask.bytes()};
    measure(state, shape, threads, work, [&] {
        muattn::check(
            muattn_spatial_attention_backward(&q, &k, &v, &out, &of_lse, &of_d_out, nullptr, &p.options, &gradients));
    });
}
