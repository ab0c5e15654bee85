#include "check_cases.h"

#include <memory>
#include <muattn/muattn.hpp>

#include "check_numbers.h"
#include "reference/channel_forward.h"

namespace muattn::cli {
namespace {

// In the options' layout.
std::vector<double> channel_result(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                   const ChannelOptions &options) {
    std::vector<double> out;
    for (const reference::ChannelHead &head : reference::channel_attention_forward(q, k, v, options)) {
        const size_t n = head.value_size.size(), d = head.logit_size.size();
        for (size_t x = 0; x < n * d; x++) {
            out.push_back(head.out[options.layout == MUATTN_CHANNELS_FIRST ? x % n * d + x / n : x]);
        }
    }
    return out;
}

// What a case works on; references are computed once for all backends.
struct SpatialProblem {
    Shape q_shape, k_shape, v_shape;
    Floats q = numbers(q_shape, 1), k = numbers(k_shape, 2), v = numbers(v_shape, 3);
    Floats scale, mask_data;
    std::vector<int64_t> key_lengths;
    muattn_tensor mask{};
    SpatialOptions options{};
    SpatialResult want;

    SpatialProblem(int64_t B, int64_t H, int64_t Hk, int64_t n_q, int64_t n_k, int64_t d, int64_t d_v)
        : q_shape{B, H, n_q, d}, k_shape{B, Hk, n_k, d}, v_shape{B, Hk, n_k, d_v} {}

    double error() {
        const auto q_tensor = tensor(q.data(), q_shape), k_tensor = tensor(k.data(), k_shape),
                   v_tensor = tensor(v.data(), v_shape);
        if (want.out.empty()) {
            want = spatial_result(q_tensor, k_tensor, v_tensor, options);
        }
        Floats out(want.out.size()), lse(want.lse.size());
        const auto out_tensor = tensor(out.data(), {q_shape[0], q_shape[1], q_shape[2], v_shape[3]}),
                   lse_tensor = tensor(lse.data(), {q_shape[0], q_shape[1], q_shape[2], 1});
        try {
            spatial_attention(q_tensor, k_tensor, v_tensor, out_tensor, lse_tensor, options);
        } catch (const Error &error) {
            if (error.status() != MUATTN_UNSUPPORTED) {
                throw;
            }
            lse.clear();  // a smaller build may have the kernel without it
            spatial_attention(q_tensor, k_tensor, v_tensor, out_tensor, options);
        }
        return std::max(largest_error(out, want.out), lse.empty() ? 0 : largest_error(lse, want.lse));
    }
};

struct ChannelProblem {
    Shape shape;
    Floats q = numbers(shape, 4), k = numbers(shape, 5), v = numbers(shape, 6);
    Floats scale;
    ChannelOptions options{};
    std::vector<double> want;

    ChannelProblem(int64_t B, int64_t H, int64_t n, int64_t d) : shape{B, H, n, d} {}

    double error() {
        const auto q_tensor = tensor(q.data(), shape), k_tensor = tensor(k.data(), shape),
                   v_tensor = tensor(v.data(), shape);
        if (want.empty()) {
            want = channel_result(q_tensor, k_tensor, v_tensor, options);
        }
        Floats out(want.size());
        channel_attention(q_tensor, k_tensor, v_tensor, tensor(out.data(), shape), options);
        return largest_error(out, want);
    }
};

CheckCase plain() { return make_case("spatial", std::make_shared<SpatialProblem>(2, 2, 2, 70, 130, 40, 24), true); }

CheckCase grouped_causal_window() {
    const auto p = std::make_shared<SpatialProblem>(1, 4, 2, 70, 130, 32, 33);
    p->options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    p->options.window = {1, 40, -1};
    p->options.scaling = MUATTN_SCALING_UMUP;
    p->options.alpha = 2;
    return make_case("spatial, umup, grouped, causal, window", p);
}

CheckCase masked_softcap() {
    const auto p = std::make_shared<SpatialProblem>(2, 2, 1, 65, 90, 16, 20);
    p->key_lengths = {0, 77};  // a batch entry without keys: output 0, lse -inf
    p->options.key_lengths = p->key_lengths.data();
    p->mask_data = numbers({1, 2, 65, 90}, 7);
    p->mask = tensor(p->mask_data.data(), {1, 2, 65, 90});
    p->options.mask = &p->mask;
    p->options.softcap = 2;
    return make_case("spatial, mask, key lengths, softcap", p);
}

CheckCase few_queries() {
    const auto p = std::make_shared<SpatialProblem>(1, 4, 2, 1, 700, 64, 64);
    p->scale = {0.1f, 0.2f, 0.3f, 0.4f};
    p->options.scale = p->scale.data();
    p->options.scale_count = 4;
    return make_case("spatial, one query, scale per head", p);
}

CheckCase wide_heads() {
    const auto p = std::make_shared<SpatialProblem>(1, 1, 1, 33, 50, 513, 300);
    p->options.scaling = MUATTN_SCALING_MUP;
    p->options.d_base = 64;
    p->options.power = 0.75;
    return make_case("spatial, mup, d = 513", p);
}

CheckCase channel() {
    const auto p = std::make_shared<ChannelProblem>(1, 2, 197, 48);
    p->options.scaling = MUATTN_SCALING_MUP;
    p->options.d_base = 32;
    p->options.alpha = 3;
    return make_case("channel, mup", p, true);
}

CheckCase channel_normalized() {
    const auto p = std::make_shared<ChannelProblem>(1, 2, 40, 300);  // channels first: d = 40, n = 300
    p->options.normalize = 1;
    p->options.layout = MUATTN_CHANNELS_FIRST;
    p->scale = {1.5f, 4.0f};
    p->options.scale = p->scale.data();
    p->options.scale_count = 2;
    return make_case("channel, normalized, channels first", p);
}

}  // namespace

std::vector<CheckCase> check_cases() {
    return {plain(),   grouped_causal_window(), masked_softcap(),    few_queries(),      wide_heads(),
            channel(), channel_normalized(),    spatial_gradients(), channel_gradients()};
}

}  // namespace muattn::cli
