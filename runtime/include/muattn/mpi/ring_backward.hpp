// Spatial attention whose keys and values travel from rank to rank: the backward pass.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
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

// Which gradients ranks compute; those of keys and values travel.
struct Wishes {
    bool q, keys, scale;
};

class RingBackward {
public:
    RingBackward(const RingCall &call, const QuerySide &side, const Wishes &wishes)
        : d_scale(wishes.scale ? size_t(side.q.shape[1]) : 0), call_(call), side_(side), wishes_(wishes) {
        if (wishes.q) {
            d_q = Array(MUATTN_FLOAT32, shape_of(side.q));
            fill(d_q.view(), 0.0f);
        }
    }

    // Adds to d_q and d_scale, and to the share of the gradients by a block's keys and values, where these are wanted.
    void add(const std::vector<distributed::Part> &parts, const Block &block, const std::optional<Block> &share) {
        if (parts.empty()) {
            return;
        }
        Array memory[2];
        const Block floats(as_floats(block.keys, memory[0]), as_floats(block.values, memory[1]));
        const bool is_whole = parts.size() == 1 && parts[0].keys.count() == floats.keys.shape[2];
        for (const distributed::Part &part : parts) {
            compute(part, floats, share, is_whole);
        }
    }

    Array d_q;                   // empty: not wanted, and so
    std::vector<float> d_scale;  // here

private:
    // is_whole: the part's keys are the block's, and its gradients the share.
    void compute(const distributed::Part &part, const Block &floats, const std::optional<Block> &share, bool is_whole) {
        const muattn_tensor q = tokens_of(side_.q, part.queries), keys = tokens_of(floats.keys, part.keys),
                            values = tokens_of(floats.values, part.keys);
        Array of_q;
        std::optional<Block> of_keys;
        std::vector<float> of_scale(d_scale.size());
        SpatialGradients gradients{};
        if (wishes_.q) {
            of_q = Array(MUATTN_FLOAT32, shape_of(q));
            gradients.d_q = &of_q.view();
        }
        if (share) {
            of_keys = is_whole ? *share : Block(keys, values, part.keys.count(), MUATTN_FLOAT32);
            gradients.d_k = &of_keys->keys, gradients.d_v = &of_keys->values;
        }
        gradients.d_scale = d_scale.empty() ? nullptr : of_scale.data();
        SpatialOptions options = call_.options_of(part);
        options.output_multiplier = &call_.output_multiplier;
        muattn_tensor d_lse{};
        if (side_.d_lse != nullptr) {
            d_lse = tokens_of(*side_.d_lse, part.queries);
        }
        spatial_attention_backward(q, keys, values, tokens_of(side_.out, part.queries),
                                   tokens_of(side_.lse, part.queries), tokens_of(side_.d_out, part.queries), gradients,
                                   options, side_.d_lse != nullptr ? &d_lse : nullptr);
        if (wishes_.q) {
            detail::add(of_q.view(), tokens_of(d_q.view(), part.queries));
        }
        if (share && !is_whole) {
            detail::add(of_keys->keys, tokens_of(share->keys, part.keys));
            detail::add(of_keys->values, tokens_of(share->values, part.keys));
        }
        for (size_t h = 0; h < d_scale.size(); h++) {
            d_scale[h] += of_scale[h];
        }
    }

    const RingCall &call_;
    const QuerySide &side_;
    Wishes wishes_;
};

// Gradients that need no keys, by the formulas of muattn_spatial_attention_backward(): D_i = d_out_i . out_i - d_lse_i.
//   d_sink = -sum_i exp(sink - lse_i) D_i,  d_output_multiplier = sum_i d_out_i . out_i / o
inline void write_gradients_of_rows(const RingCall &call, const QuerySide &side, const SpatialGradients &gradients) {
    const int64_t B = side.q.shape[0], H = side.q.shape[1], n = side.q.shape[2], d_v = side.out.shape[3];
    struct Rows {
        const float *data;
        muattn_tensor t;

        explicit Rows(const muattn_tensor &tensor) : t(with_strides(tensor)) {
            data = static_cast<const float *>(t.data) + t.offset;
        }
        const float *row(int64_t b, int64_t h, int64_t i) const {
            return data + b * t.strides[0] + h * t.strides[1] + i * t.strides[2];
        }
    };
    const Rows outs(side.out), d_outs(side.d_out), lses(side.lse),
        d_lses(side.d_lse != nullptr ? *side.d_lse : side.lse);
    double d_multiplier = 0;
    for (int64_t h = 0; h < H; h++) {
        double d_sink = 0;
        for (int64_t b = 0; b < B; b++) {
            for (int64_t i = 0; i < n; i++) {
                const float *out = outs.row(b, h, i), *d_out = d_outs.row(b, h, i);
                double through = 0;
                for (int64_t e = 0; e < d_v; e++) {
                    through += double(d_out[e]) * out[e];
                }
                d_multiplier += through;
                const float lse = *lses.row(b, h, i);
                if (gradients.d_sink != nullptr && lse != -std::numeric_limits<float>::infinity()) {
                    const double d_lse = side.d_lse != nullptr ? *d_lses.row(b, h, i) : 0.0;
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
    const Wishes wishes{gradients.d_q != nullptr, gradients.d_k != nullptr || gradients.d_v != nullptr,
                        gradients.d_scale != nullptr};
    const TokenCounts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_ring(q, k, options);
        const SpatialOptions of_part = options_of_part(options);
        check(muattn_spatial_attention_backward_check(&q, &k, &v, &out, &lse, &d_out, d_lse, &of_part, &gradients));
        add_facts(facts, q, k, v, options);
        add_fact(facts, balance);
        facts.add_flag("wish for d_k or d_v", wishes.keys);
        return OwnTokens{q.shape[2], k.shape[2]};
    });
    const RingCall call(messages, kWhat, counts, q, options, balance);
    const Exchange exchange(messages);
    const QuerySide side(q, out, lse, d_out, d_lse);
    RingBackward backward(call, side, wishes);
    std::optional<TravellingGradients> travelling;
    if (wishes.keys) {
        travelling.emplace(call.route, k, v);
    }
    for_blocks(call.route, k, v, [&](int64_t hop, int owner, const Block &block) {
        const std::vector<distributed::Part> parts = call.parts(owner);
        std::optional<Block> share;
        if (travelling) {
            travelling->expect(hop, owner);
            if (!parts.empty()) {
                share = travelling->new_share(owner);
            }
        }
        messages.beside([&] { backward.add(parts, block, share); });
        if (travelling) {
            travelling->add(hop, owner, std::move(share));
        }
    });
    if (gradients.d_q != nullptr) {
        convert(backward.d_q.view(), *gradients.d_q);
    }
    if (gradients.d_k != nullptr) {
        convert(travelling->result().keys, *gradients.d_k);
    }
    if (gradients.d_v != nullptr) {
        convert(travelling->result().values, *gradients.d_v);
    }
    if (gradients.d_scale != nullptr) {
        std::copy(backward.d_scale.begin(), backward.d_scale.end(), gradients.d_scale);
    }
    if (gradients.d_sink != nullptr || gradients.d_output_multiplier != nullptr) {
        write_gradients_of_rows(call, side, gradients);
    }
}

}  // namespace muattn::mpi::detail
