// The cases of `muattn check` that are about gradients.
#include <muattn/muattn.hpp>

#include "check_cases.h"
#include "check_numbers.h"
#include "reference/channel_backward.h"
#include "reference/spatial_backward.h"

namespace muattn::cli {
namespace {

Floats rounded(const std::vector<double> &x) { return Floats(x.begin(), x.end()); }

// Of all inputs. out and lse are the reference's, so that a fault of the forward kernels is not seen here.
struct SpatialGradientsProblem {
    Shape q_shape{1, 4, 70, 40}, k_shape{1, 2, 130, 40}, v_shape{1, 2, 130, 24}, out_shape{1, 4, 70, 24};
    Shape lse_shape{1, 4, 70, 1}, mask_shape{1, 4, 1, 130};
    Floats q = numbers(q_shape, 1), k = numbers(k_shape, 2), v = numbers(v_shape, 3), mask = numbers(mask_shape, 4);
    Floats d_out = numbers(out_shape, 5), d_lse = numbers(lse_shape, 6), sink{0.5f, -1.0f, 0.0f, 2.0f}, out, lse;
    float multiplier = -1.5f;
    reference::SpatialGradients want;

    double error() {
        const muattn_tensor mask_tensor = tensor(mask.data(), mask_shape);
        SpatialOptions options{};
        options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        options.mask = &mask_tensor;
        options.sink = sink.data();
        options.output_multiplier = &multiplier;
        const muattn_tensor q_tensor = tensor(q.data(), q_shape), k_tensor = tensor(k.data(), k_shape),
                            v_tensor = tensor(v.data(), v_shape), d_out_tensor = tensor(d_out.data(), out_shape),
                            d_lse_tensor = tensor(d_lse.data(), lse_shape);
        if (out.empty()) {
            const SpatialResult forward = spatial_result(q_tensor, k_tensor, v_tensor, options);
            out = rounded(forward.out), lse = rounded(forward.lse);
        }
        const muattn_tensor out_tensor = tensor(out.data(), out_shape), lse_tensor = tensor(lse.data(), lse_shape);
        if (want.q.empty()) {
            want = reference::spatial_attention_backward(q_tensor, k_tensor, v_tensor, options, out_tensor, lse_tensor,
                                                         d_out_tensor, &d_lse_tensor);
        }
        Floats d_q(q.size()), d_k(k.size()), d_v(v.size()), d_mask(mask.size()), d_scale(4), d_sink(4), d_multiplier(1);
        const muattn_tensor to_q = tensor(d_q.data(), q_shape), to_k = tensor(d_k.data(), k_shape),
                            to_v = tensor(d_v.data(), v_shape), to_mask = tensor(d_mask.data(), mask_shape);
        spatial_attention_backward(q_tensor, k_tensor, v_tensor, out_tensor, lse_tensor, d_out_tensor,
                                   {&to_q, &to_k, &to_v, d_scale.data(), &to_mask, d_sink.data(), d_multiplier.data()},
                                   options, &d_lse_tensor);
        return std::max({largest_error(d_q, want.q), largest_error(d_k, want.k), largest_error(d_v, want.v),
                         largest_error(d_scale, want.scale), largest_error(d_mask, want.mask),
                         largest_error(d_sink, want.sink), largest_error(d_multiplier, {want.output_multiplier})});
    }
};

struct ChannelGradientsProblem {
    Shape shape{1, 1, 197, 48};  // one head, whose gradients are in the reference's order
    Floats q = numbers(shape, 7), k = numbers(shape, 8), v = numbers(shape, 9), d_out = numbers(shape, 10);
    std::vector<reference::ChannelGradients> want;

    double error() {
        const muattn_tensor q_tensor = tensor(q.data(), shape), k_tensor = tensor(k.data(), shape),
                            v_tensor = tensor(v.data(), shape), d_out_tensor = tensor(d_out.data(), shape);
        const float temperature = 2;
        ChannelOptions options{};
        options.normalize = 1;
        options.scale = &temperature;
        options.scale_count = 1;
        if (want.empty()) {
            want = reference::channel_attention_backward(q_tensor, k_tensor, v_tensor, options, d_out_tensor);
        }
        Floats d_q(q.size()), d_k(k.size()), d_v(v.size()), d_scale(1), d_multiplier(1);
        const muattn_tensor to_q = tensor(d_q.data(), shape), to_k = tensor(d_k.data(), shape),
                            to_v = tensor(d_v.data(), shape);
        channel_attention_backward(q_tensor, k_tensor, v_tensor, d_out_tensor,
                                   {&to_q, &to_k, &to_v, d_scale.data(), d_multiplier.data()}, options);
        const reference::ChannelGradients &head = want[0];
        return std::max({largest_error(d_q, head.q), largest_error(d_k, head.k), largest_error(d_v, head.v),
                         largest_error(d_scale, {head.scale}), largest_error(d_multiplier, {head.output_multiplier})});
    }
};

}  // namespace

CheckCase spatial_gradients() {
    return make_case("gradients, spatial, mask, sink", std::make_shared<SpatialGradientsProblem>());
}

CheckCase channel_gradients() {
    return make_case("gradients, channel, normalized", std::make_shared<ChannelGradientsProblem>());
}

}  // namespace muattn::cli
