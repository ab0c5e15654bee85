// Spatial attention whose keys and values travel from rank to rank: the backward pass.
#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "muattn/mpi/ring_call.hpp"

namespace muattn::mpi::detail {

// float32 views of what the backward pass reads of this rank's queries.
struct QuerySide {
    Array memory[3];
    const muattn_tensor q, out, d_out, lse;
    const muattn_tensor *d_lse;  // null: 0

    QuerySide(const muattn_tensor &of_q, const muattn_tensor &of_out, const muattn_tensor &of_lse,
              const muattn_tensor &of_d_out, const muattn_tensor *of_d_lse)
        : q(as_floats(of_q, memory[0])),
          out(as_floats(of_out, memory[1])),
          d_out(as_floats(of_d_out, memory[2])),
          lse(of_lse),
          d_lse(of_d_lse) {}
};

class RingBackward {
public:
    RingBackward(const RingCall &call, const QuerySide &side, bool wants_scale)
        : d_q(MUATTN_FLOAT32, shape_of(side.q)), d_scale(wants_scale ? side.q.shape[1] : 0), call_(call), side_(side) {
        d_q.fill(0.0f);
    }

    // Adds to d_q and d_scale, and returns the share of the gradients by a block's keys and values: none without parts.
    std::optional<Block> share(const std::vector<distributed::Part> &parts, const Block &block,
                               const TravellingGradients &gradients) {
        if (parts.empty()) {
            return std::nullopt;
        }
        Array memory[2];
        const Block floats(as_floats(block.keys, memory[0]), as_floats(block.values, memory[1]));
        const int64_t n_k = floats.keys.shape[2];
        const Block share = gradients.new_block(n_k);
        const bool is_whole = parts.size() == 1 && parts[0].keys.count() == n_k;
        if (!is_whole) {
            share.fill(0.0f);
        }
        for (const distributed::Part &part : parts) {
            const Block of_part = is_whole ? share : gradients.new_block(part.keys.count());
            compute(part, floats, of_part);
            if (!is_whole) {
                add(of_part.keys, tokens_of(share.keys, part.keys));
                add(of_part.values, tokens_of(share.values, part.keys));
            }
        }
        return share;
    }

    Array d_q;
    std::vector<float> d_scale;  // empty: not wanted

private:
    void compute(const distributed::Part &part, const Block &floats, const Block &d) {
        const muattn_tensor q = tokens_of(side_.q, part.queries);
        const Array d_q_of_part(MUATTN_FLOAT32, shape_of(q));
        std::vector<float> d_scale_of_part(d_scale.size());
        SpatialGradients gradients{};
        gradients.d_q = &d_q_of_part.view(), gradients.d_k = &d.keys, gradients.d_v = &d.values;
        gradients.d_scale = d_scale.empty() ? nullptr : d_scale_of_part.data();
        SpatialOptions options = call_.options_of(part);
        options.output_multiplier = &call_.output_multiplier;
        muattn_tensor d_lse{};
        if (side_.d_lse != nullptr) {
            d_lse = tokens_of(*side_.d_lse, part.queries);
        }
        spatial_attention_backward(q, tokens_of(floats.keys, part.keys), tokens_of(floats.values, part.keys),
                                   tokens_of(side_.out, part.queries), tokens_of(side_.lse, part.queries),
                                   tokens_of(side_.d_out, part.queries), gradients, options,
                                   side_.d_lse != nullptr ? &d_lse : nullptr);
        add(d_q_of_part.view(), tokens_of(d_q.view(), part.queries));
        for (size_t h = 0; h < d_scale.size(); h++) {
            d_scale[h] += d_scale_of_part[h];
        }
    }

    const RingCall &call_;
    const QuerySide &side_;
};

// Gradients that need no keys, by the formulas of muattn_spatial_attention_backward(): D_i = d_out_i . out_i - d_lse_i.
//   d_sink = -sum_i exp(sink - lse_i) D_i,  d_output_multiplier = sum_i d_out_i . out_i / o
inline void write_gradients_of_rows(const RingCall &call, const QuerySide &side, const SpatialGradients &gradients) {
    const int64_t B = side.q.shape[0], H = side.q.shape[1], n = side.q.shape[2], d_v = side.out.shape[3];
    const auto element = [](const muattn_tensor &t, int64_t b, int64_t h, int64_t i) {
        return static_cast<const float *>(slice(slice(slice(t, 0, b, 1), 1, h, 1), 2, i, 1).data);
    };
    double d_multiplier = 0;
    for (int64_t h = 0; h < H; h++) {
        double d_sink = 0;
        for (int64_t b = 0; b < B; b++) {
            for (int64_t i = 0; i < n; i++) {
                const float *out = element(side.out, b, h, i), *d_out = element(side.d_out, b, h, i);
                double through = 0;
                for (int64_t e = 0; e < d_v; e++) {
                    through += double(d_out[e]) * out[e];
                }
                d_multiplier += through;
                const float lse = *element(side.lse, b, h, i);
                if (gradients.d_sink != nullptr && lse != -std::numeric_limits<float>::infinity()) {
                    const double d_lse = side.d_lse != nullptr ? *element(*side.d_lse, b, h, i) : 0.0;
                    d_sink -= std::exp(double(call.sink()[h]) - lse) * (through - d_lse);
                }
            }
        }
        if (gradients.d_sink != nullptr) {
            gradients.d_sink[h] = float(d_sink);
        }
    }
    if (gradients.d_output_multiplier != nullptr) {
        *gradients.d_output_multiplier = float(d_multiplier / call.output_multiplier);
    }
}

inline void ring_backward(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                          const muattn_tensor &out, const muattn_tensor &lse, const muattn_tensor &d_out,
                          const SpatialGradients &gradients, const SpatialOptions &options, Balance balance,
                          const muattn_tensor *d_lse) {
    constexpr const char *kWhat = "ring_attention_backward()";
    Messages &messages = group.messages();
    const Counts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_ring(q, k, options);
        const SpatialOptions of_part = options_of_part(options);
        check(muattn_spatial_attention_backward_check(&q, &k, &v, &out, &lse, &d_out, d_lse, &of_part, &gradients));
        add_facts(facts, q, k, v, options, balance);
        return std::pair(q.shape[2], k.shape[2]);
    });
    const RingCall call(messages, kWhat, counts, q, options, balance);
    const QuerySide side(q, out, lse, d_out, d_lse);
    RingBackward backward(call, side, gradients.d_scale != nullptr);
    TravellingGradients travelling(call.route, k, v);
    for_blocks(call.route, k, v, [&](int64_t hop, int owner, const Block &block) {
        travelling.expect(hop, owner);
        std::optional<Block> share;
        messages.beside([&] { share = backward.share(call.parts(owner), block, travelling); });
        travelling.add(hop, owner, std::move(share));
    });
    const Block &of_keys = travelling.result();
    if (gradients.d_q != nullptr) {
        convert_or_copy(backward.d_q.view(), *gradients.d_q);
    }
    if (gradients.d_k != nullptr) {
        convert_or_copy(of_keys.keys, *gradients.d_k);
    }
    if (gradients.d_v != nullptr) {
        convert_or_copy(of_keys.values, *gradients.d_v);
    }
    if (gradients.d_scale != nullptr) {
        std::copy(backward.d_scale.begin(), backward.d_scale.end(), gradients.d_scale);
    }
    if (gradients.d_sink != nullptr || gradients.d_output_multiplier != nullptr) {
        write_gradients_of_rows(call, side, gradients);
    }
}

}  // namespace muattn::mpi::detail
