// Channel attention: the ranks' maps are added up, and so are their gradients.
#pragma once

#include <algorithm>
#include <cstdint>

#include "muattn/mpi/agreement.hpp"
#include "muattn/mpi/arrays.hpp"
#include "muattn/mpi/words.hpp"

namespace muattn::mpi {

// Sums over all ranks' tokens, which the backward pass needs of the forward pass. Made by channel_attention().
class ChannelSums {
public:
    ChannelSums() = default;

    // [B, H, d, d], before scale and norms; squares [B, H, d, 1], with normalize.
    const muattn_tensor &map() const { return map_; }
    ChannelSquares squares() const {
        return {has_squares_ ? &q_squares_ : nullptr, has_squares_ ? &k_squares_ : nullptr};
    }

    // For the functions of this library.
    ChannelSums(int64_t B, int64_t H, int64_t d, bool has_squares)
        : memory_(MUATTN_FLOAT32, {1, 1, 1, B * H * d * (d + (has_squares ? 2 : 0))}), has_squares_(has_squares) {
        float *data = memory_.floats();
        map_ = tensor(data, {B, H, d, d});
        q_squares_ = tensor(data + B * H * d * d, {B, H, d, 1});
        k_squares_ = tensor(data + B * H * d * (d + 1), {B, H, d, 1});
    }
    const detail::Array &memory() const { return memory_; }
    int64_t tokens = 0;  // of all ranks

private:
    detail::Array memory_;
    bool has_squares_ = false;
    muattn_tensor map_{}, q_squares_{}, k_squares_{};
};

namespace detail {

inline int tokens_dim(const ChannelOptions &options) { return options.layout == MUATTN_CHANNELS_FIRST ? 3 : 2; }
inline int channels_dim(const ChannelOptions &options) { return options.layout == MUATTN_CHANNELS_FIRST ? 2 : 3; }

inline void add_facts(Facts &facts, const muattn_tensor &q, const ChannelOptions &options) {
    const int64_t sizes[] = {q.shape[0], q.shape[1], q.shape[channels_dim(options)]};
    facts.add("layout", word_of(options.layout));
    facts.add("dtype of q", word_of(q.dtype));
    facts.add_numbers("sizes of q [batch, heads, channels]", sizes, 3);
    facts.add("scaling", word_of(options.scaling));
    facts.add_number("d_base", options.d_base);
    facts.add_number("alpha", options.alpha);
    facts.add_numbers("scale", options.scale, options.scale_count);
    facts.add_numbers("output_multiplier", options.output_multiplier, 1);
    facts.add_flag("normalize", options.normalize != 0);
}

inline void require_no_tokens(const ChannelOptions &options) {
    if (options.tokens != 0) {
        throw Error(MUATTN_INVALID_TOKENS, "tokens must be 0: those of all ranks are counted");
    }
}

}  // namespace detail

// muattn::channel_attention() over the tokens of all ranks.
//
//   q, k, v, out  this rank's tokens, [B, H, n_local, d], or [B, H, d, n_local] with channels first; which these are, and how many, does not matter
//   options       as there, the same on each rank. The rule's s = 1/sqrt(n) counts all ranks' tokens: options.tokens is 0
//   sums          null, or where to put what channel_attention_backward() needs
//
// Each rank sends its map [B, H, d, d], and with normalize the squares, 2 [B, H, d], whatever n is.
//
// Throws on every rank: Error where an argument is wrong on one of them, or ranks differ in what must be the same; nothing has been written then.
// CommunicationError where another rank does not answer. What goes wrong on one rank later, as too little memory, is an Error there alone: the group is of
// no more use, and the others wait until the time-out.
inline void channel_attention(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const ChannelOptions &options = {},
                              ChannelSums *sums = nullptr) {
    using namespace detail;
    constexpr const char *kWhat = "channel_attention()";
    Messages &messages = group.messages();
    const TokenCounts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_processor(q);
        require_no_tokens(options);
        check_channel_attention(q, k, v, out, options);
        add_facts(facts, q, options);
        return OwnTokens{q.shape[tokens_dim(options)]};
    });
    const Exchange exchange(messages);
    ChannelSums found(q.shape[0], q.shape[1], q.shape[channels_dim(options)], options.normalize != 0);
    found.tokens = std::max<int64_t>(distributed::sum_of(counts.q), 1);
    channel_map(q, k, found.map(), options, found.squares());
    Transfers transfers(messages, kWhat);
    transfers.keep(found.memory().memory());
    transfers.sum(found.memory().floats(), found.memory().size());
    transfers.wait();
    ChannelOptions of_all = options;
    of_all.tokens = found.tokens;
    channel_apply(found.map(), v, out, of_all, found.squares());
    if (sums != nullptr) {
        *sums = found;
    }
}

// The gradients of a loss, the sum of what the ranks have, by this rank's q, k and v.
//
//   q, k, v, options  as channel_attention() had them
//   d_out             like out
//   sums              what channel_attention() gave
//   gradients         those that are wanted, the same on each rank. d_scale and d_output_multiplier are this rank's share: those of all ranks add up
//
// Each rank sends the gradient of its map, [B, H, d, d]. Throws as channel_attention() does.
inline void channel_attention_backward(Group &group, const muattn_tensor &q, const muattn_tensor &k,
                                       const muattn_tensor &v, const muattn_tensor &d_out, const ChannelSums &sums,
                                       const ChannelGradients &gradients, const ChannelOptions &options = {}) {
    using namespace detail;
    constexpr const char *kWhat = "channel_attention_backward()",
                         *kOtherSums = "sums must be those that channel_attention() gave for this call";
    Messages &messages = group.messages();
    const int64_t H = q.shape[1];
    const bool wants_map = gradients.d_q != nullptr || gradients.d_k != nullptr || gradients.d_scale != nullptr ||
                           gradients.d_output_multiplier != nullptr;
    ChannelOptions of_all = options;
    of_all.tokens = sums.tokens;
    const TokenCounts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_processor(q);
        require_no_tokens(options);
        check_channel_attention_backward(q, k, v, d_out, gradients, options);
        const muattn_tensor &map = sums.map();
        if (sums.tokens == 0 || map.shape[0] != q.shape[0] || map.shape[1] != H ||
            map.shape[2] != q.shape[channels_dim(options)] ||
            (sums.squares().q != nullptr) != (options.normalize != 0)) {
            throw Error(MUATTN_INVALID_MAP, kOtherSums);
        }
        add_facts(facts, q, options);
        facts.add_number("tokens of sums", sums.tokens);
        facts.add_flag("wish for d_q, d_k, d_scale or d_output_multiplier", wants_map);
        return OwnTokens{q.shape[tokens_dim(options)]};
    });
    if (std::max<int64_t>(distributed::sum_of(counts.q), 1) != sums.tokens) {
        refuse(kWhat, MUATTN_INVALID_MAP, kOtherSums);
    }
    const Exchange exchange(messages);
    const ChannelSquares squares = sums.squares();
    if (!wants_map) {
        channel_apply_backward(sums.map(), v, d_out, nullptr, gradients.d_v, of_all, squares);
        return;
    }
    const Array d_map(MUATTN_FLOAT32, shape_of(sums.map()));
    channel_apply_backward(sums.map(), v, d_out, &d_map.view(), nullptr, of_all, squares);
    Transfers transfers(messages, kWhat);
    transfers.keep(d_map.memory());
    transfers.sum(d_map.floats(), d_map.size());
    if (gradients.d_v != nullptr) {
        messages.beside([&] { channel_apply_backward(sums.map(), v, d_out, nullptr, gradients.d_v, of_all, squares); });
    }
    transfers.wait();
    ChannelGradients of_map = gradients;
    of_map.d_v = nullptr;
    channel_map_backward(q, k, sums.map(), d_map.view(), of_map, of_all, squares);
    for (int64_t h = 0; gradients.d_scale != nullptr && h < H; h++) {
        gradients.d_scale[h] /= float(group.size());
    }
    if (gradients.d_output_multiplier != nullptr) {
        *gradients.d_output_multiplier /= float(group.size());
    }
}

}  // namespace muattn::mpi
