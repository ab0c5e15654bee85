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

namespace {

void of_channels(benchmark::State &state, const json &shape, int threads, bool with_map) {
    const ChannelProblem p(shape);
    const Floats d_out = random_floats(static_cast<int64_t>(p.out.size()));
    const Floats d_q = room_for(p.q), d_k = room_for(p.k), d_v = room_for(p.v);
    const Floats logits(with_map ? static_cast<size_t>(p.B * p.H * p.d * p.d) : 0), map = room_for(logits);
    const muattn_tensor q = p.like(p.q), k = p.like(p.k), v = p.like(p.v), out = p.like(p.out);
    const muattn_tensor of_d_out = p.like(d_out), of_d_q = p.like(d_q), of_d_k = p.like(d_k), of_d_v = p.like(d_v);
    const muattn::Shape square = {p.B, p.H, p.d, p.d};
    const muattn_tensor of_logits = muattn::tensor(logits.data(), square), of_map = muattn::tensor(map.data(), square);
    muattn_channel_gradients gradients{};
    gradients.d_q = &of_d_q, gradients.d_k = &of_d_k, gradients.d_v = &of_d_v;
    try {
        if (with_map) {
            muattn::check(muattn_channel_map(&q, &k, &p.options, &of_logits, nullptr, nullptr));
            muattn::check(muattn_channel_apply(&of_logits, nullptr, nullptr, &v, &p.options, &out, &of_map));
        }
    } catch (const std::exception &error) {
        return state.SkipWithError(error.what());
    }
    const int products = with_map ? 4 : 5;  // d_out V^T, the three gradients and, without the map, its own
    const Work work{2.0 * products * double(p.B * p.H * p.n * p.d * p.d),
                    float_bytes({&p.q, &p.k, &p.v, &d_out, &map, &d_q, &d_k, &d_v})};
    measure(state, shape, threads, work, [&] {
        muattn::check(muattn_channel_attention_backward(&q, &k, &v, &of_d_out, with_map ? &of_map : nullptr, &p.options,
                                                        &gradients));
    });
}

}  // namespace

void channel_backward(benchmark::State &state, const json &shape, int threads) {
    of_channels(state, shape, threads, false);
}

void channel_backward_with_map(benchmark::State &state, const json &shape, int threads) {
    of_channels(state, shape, threads, true);
}
