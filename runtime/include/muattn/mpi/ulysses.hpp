// Spatial attention whose ranks exchange tokens for heads: each then has all tokens of some heads.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "muattn/mpi/heads.hpp"
#include "muattn/mpi/spatial.hpp"

namespace muattn::mpi {

// All tokens of this rank's heads, which the backward pass needs of the forward pass. Made by ulysses_attention().
struct UlyssesHeads {
    detail::Array q, k, v, out, lse;
    std::vector<std::vector<Stretch>> queries, keys;  // of each rank
};

namespace detail {

// The options for this rank's heads, and what they point to.
struct OptionsOfHeads {
    OptionsOfHeads(const SpatialOptions &of_all, int64_t H, int rank, int ranks) : options(of_all) {
        const int64_t own = H / ranks, first = own * rank;
        if (of_all.scale != nullptr && of_all.scale_count > 1) {
            options.scale = of_all.scale + first, options.scale_count = own;
        }
        if (of_all.sink != nullptr) {
            options.sink = of_all.sink + first;
        }
        if (of_all.mask != nullptr) {
            mask = of_all.mask->shape[1] > 1 ? slice(*of_all.mask, 1, first, own) : *of_all.mask;
            options.mask = &mask;
        }
    }
    OptionsOfHeads(const OptionsOfHeads &) = delete;
    OptionsOfHeads &operator=(const OptionsOfHeads &) = delete;

    SpatialOptions options;
    muattn_tensor mask{};
};

inline void require_heads(const muattn_tensor &q, const muattn_tensor &k, int ranks) {
    const auto require = [&](const char *name, muattn_status status, int64_t heads) {
        if (heads % ranks != 0) {
            throw Error(status, (std::string(name) + ".shape[1] must be a multiple of the number of ranks, " +
                                 std::to_string(ranks) + ", which share the heads, not " + std::to_string(heads) +
                                 "; ring_attention() has no such rule")
                                    .c_str());
        }
    };
    require("q", MUATTN_INVALID_Q, q.shape[1]);
    require("k", MUATTN_INVALID_K, k.shape[1]);
}

// Of a mask for all tokens as many rows and columns as this rank has queries and keys, so that its other rules are checked.
inline muattn_tensor part_of_mask(const muattn_tensor &mask, int64_t n_q, int64_t n_k) {
    muattn_tensor part = with_strides(mask);
    const int64_t counts[] = {0, 0, n_q, n_k};
    for (int dim = 2; dim < 4; dim++) {
        if (mask.shape[dim] >= counts[dim] && mask.shape[dim] > 1) {
            part = slice(part, dim, 0, counts[dim]);
        } else if (mask.shape[dim] > 1) {  // wrong, which is said when all tokens are known
            part.shape[dim] = 1;
        }
    }
    return part;
}

// Of all ranks' numbers of tokens, and so alike on all of them.
inline void require_sizes(const char *what, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                          int64_t n_q, int64_t n_k, const SpatialOptions &options, int ranks) {
    const auto require_span = [&](const char *name, muattn_status status, const muattn_tensor &t, int64_t n,
                                  int64_t d) {
        const int64_t others = t.shape[0] * (t.shape[1] / ranks) * d;
        if (others > 0 && n >= (INT64_C(1) << 31) / others) {
            refuse(what, status, std::string(name) + ": all tokens of a rank's heads span 2^31 elements or more");
        }
    };
    require_span("q", MUATTN_INVALID_Q, q, n_q, std::max(q.shape[3], v.shape[3]));
    require_span("k", MUATTN_INVALID_K, k, n_k, k.shape[3]);
    require_span("v", MUATTN_INVALID_V, v, n_k, v.shape[3]);
    require_key_lengths(what, options, q.shape[0], n_k);
    const int64_t full[] = {0, 0, n_q, n_k};
    for (int dim = 2; options.mask != nullptr && dim < 4; dim++) {
        const int64_t size = options.mask->shape[dim];
        if (size != 1 && size != full[dim]) {
            refuse(what, MUATTN_INVALID_MASK,
                   "mask.shape[" + std::to_string(dim) + "] must be 1, or that of all ranks' tokens, " +
                       std::to_string(full[dim]) + ", not " + std::to_string(size));
        }
    }
}

inline void ulysses_forward(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                            const muattn_tensor &out, const muattn_tensor *lse, const SpatialOptions &options,
                            Balance balance, UlyssesHeads *heads) {
    constexpr const char *kWhat = "ulysses_attention()";
    Messages &messages = group.messages();
    const TokenCounts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_kind(q, k);
        SpatialOptions of_part = options_of_part(options);
        muattn_tensor mask{};
        if (options.mask != nullptr) {
            mask = part_of_mask(*options.mask, q.shape[2], k.shape[2]);
            of_part.mask = &mask;
        }
        check(muattn_spatial_attention_forward_check(&q, &k, &v, &of_part, &out, lse));
        require_heads(q, k, group.size());
        add_facts(facts, q, k, v, options);
        add_fact(facts, balance);
        facts.add_flag("wish for lse", lse != nullptr);
        return OwnTokens{q.shape[2], k.shape[2]};
    });
    require_balance(kWhat, counts, balance);
    require_sizes(kWhat, q, k, v, distributed::sum_of(counts.q), distributed::sum_of(counts.k), options, group.size());
    const Exchange whole(messages);
    UlyssesHeads found;
    found.queries = distributed::stretches_of(counts.q, balance),
    found.keys = distributed::stretches_of(counts.k, balance);
    HeadExchange exchange(messages, kWhat);
    exchange.to_heads(q, found.queries, found.q);
    exchange.to_heads(k, found.keys, found.k);
    exchange.to_heads(v, found.keys, found.v);
    exchange.wait();
    const muattn_tensor &of_q = found.q.view();
    found.out = Array(q.dtype, {of_q.shape[0], of_q.shape[1], of_q.shape[2], v.shape[3]});
    found.lse = Array(MUATTN_FLOAT32, {of_q.shape[0], of_q.shape[1], of_q.shape[2], 1});
    const OptionsOfHeads own(options, q.shape[1], group.rank(), group.size());
    spatial_attention(of_q, found.k.view(), found.v.view(), found.out.view(), found.lse.view(), own.options);
    exchange.to_tokens(found.out.view(), found.queries, out);
    if (lse != nullptr) {
        exchange.to_tokens(found.lse.view(), found.queries, *lse);
    }
    exchange.wait();
    if (heads != nullptr) {
        *heads = found;
    }
}

// Views that have the shapes of this rank's tokens, and elements of the heads': for checks.
struct ViewsOfTokens {
    muattn_tensor q, k, v, out, lse;

    ViewsOfTokens(const UlyssesHeads &heads, int rank, int ranks) {
        const int64_t n_q = distributed::count_of(heads.queries[size_t(rank)]),
                      n_k = distributed::count_of(heads.keys[size_t(rank)]);
        const auto view = [&](const Array &array, int64_t n) {
            const muattn_tensor &t = array.view();
            return tensor(t.data, t.dtype, {t.shape[0], t.shape[1] * ranks, n, t.shape[3]}, {0, 0, 0, 1});
        };
        q = view(heads.q, n_q), k = view(heads.k, n_k), v = view(heads.v, n_k), out = view(heads.out, n_q),
        lse = view(heads.lse, n_q);
    }
};

inline void require_gradients(const ViewsOfTokens &views, const muattn_tensor &d_out, const muattn_tensor *d_lse,
                              const SpatialGradients &gradients, const SpatialOptions &options) {
    const int64_t n_q = views.q.shape[2], n_k = views.k.shape[2];
    SpatialOptions of_part = options_of_part(options);
    SpatialGradients wanted = gradients;
    muattn_tensor mask{}, d_mask{};
    if (options.mask != nullptr) {
        mask = part_of_mask(*options.mask, n_q, n_k);
        of_part.mask = &mask;
    }
    if (options.mask != nullptr && gradients.d_mask != nullptr) {
        for (int dim = 2; dim < 4; dim++) {
            if (gradients.d_mask->shape[dim] != options.mask->shape[dim]) {
                throw Error(MUATTN_INVALID_D_MASK, "d_mask must have the mask's shape");
            }
        }
        d_mask = part_of_mask(*gradients.d_mask, n_q, n_k);
        wanted.d_mask = &d_mask;
    }
    check(muattn_spatial_attention_backward_check(&views.q, &views.k, &views.v, &views.out, &views.lse, &d_out, d_lse,
                                                  &of_part, &wanted));
}

// The ranks' numbers of tokens: those of one forward call, if they are the same on all.
inline void add_tokens(Facts &facts, const char *name, const std::vector<distributed::Stretches> &ranks) {
    std::vector<int64_t> starts;
    for (const distributed::Stretches &stretches : ranks) {
        for (const distributed::Stretch &stretch : stretches) {
            starts.push_back(stretch.start);
            starts.push_back(stretch.count);
        }
    }
    facts.add(name, words_of(starts));
}

// Of a gradient by what every rank has: zeros, where it is not of this rank's heads.
inline void clear(float *numbers, int64_t count) {
    if (numbers != nullptr) {
        std::fill_n(numbers, count, 0.0f);
    }
}

}  // namespace detail

// muattn::spatial_attention() over the tokens of all ranks, which exchange tokens for heads: each has all tokens of its heads then, and calls it once; a
// second exchange brings the results back.
//
//   q, k, v   this rank's tokens, [B, H, n_local, d], [B, Hk, n_local, d] and [B, Hk, n_local, d_v]; H and Hk are multiples of the number of ranks. Without
//             balance ranks hold neighbouring stretches of any lengths, in order; with Balance::zigzag those that stretches() gives
//   out, lse  of this rank's queries
//   options   as there, the same on each rank. They speak of the whole sequence: a mask has all ranks' tokens and heads. No int8
//   heads     null, or where to put what ulysses_attention_backward() needs
//
// Throws on every rank: Error where an argument is wrong on one of them, or ranks differ in what must be the same; nothing has been written then.
// CommunicationError where another rank does not answer. What goes wrong on one rank later, as too little memory, is an Error there alone: the group is of
// no more use, and the others wait until the time-out.
inline void ulysses_attention(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const SpatialOptions &options = {},
                              Balance balance = Balance::none, UlyssesHeads *heads = nullptr) {
    detail::ulysses_forward(group, q, k, v, out, nullptr, options, balance, heads);
}
inline void ulysses_attention(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const muattn_tensor &lse, const SpatialOptions &options = {},
                              Balance balance = Balance::none, UlyssesHeads *heads = nullptr) {
    detail::ulysses_forward(group, q, k, v, out, &lse, options, balance, heads);
}

// The gradients of a loss, the sum of what the ranks have, by this rank's q, k and v.
//
//   heads         what ulysses_attention() gave
//   d_out, d_lse  like out and lse; d_lse null: 0
//   gradients     those that are wanted, the same on each rank. d_scale, d_mask, d_sink and d_output_multiplier are this rank's share, that of its heads:
//                 those of all ranks add up
//   options       as ulysses_attention() had them
//
// Throws as ulysses_attention() does.
inline void ulysses_attention_backward(Group &group, const UlyssesHeads &heads, const muattn_tensor &d_out,
                                       const SpatialGradients &gradients, const SpatialOptions &options = {},
                                       const muattn_tensor *d_lse = nullptr) {
    using namespace detail;
    constexpr const char *kWhat = "ulysses_attention_backward()";
    Messages &messages = group.messages();
    const int ranks = group.size(), rank = group.rank();
    const muattn_tensor &q = heads.q.view(), &k = heads.k.view(), &v = heads.v.view();
    const int64_t H = q.shape[1] * ranks;
    agree(messages, kWhat, [&](Facts &facts) {
        if (!heads.q || int(heads.queries.size()) != ranks) {
            throw Error(MUATTN_INVALID_ARGUMENT, "heads must be those that ulysses_attention() gave for this call");
        }
        const ViewsOfTokens views(heads, rank, ranks);
        require_gradients(views, d_out, d_lse, gradients, options);
        add_facts(facts, views.q, views.k, views.v, options);
        add_tokens(facts, "queries of heads [start, count, ...]", heads.queries);
        add_tokens(facts, "keys of heads [start, count, ...]", heads.keys);
        facts.add_flag("wish for d_q", gradients.d_q != nullptr);
        facts.add_flag("wish for d_k", gradients.d_k != nullptr);
        facts.add_flag("wish for d_v", gradients.d_v != nullptr);
        facts.add("d_lse", d_lse != nullptr ? "given" : "none");
        return OwnTokens{};
    });
    require_sizes(kWhat, q, k, v, q.shape[2], k.shape[2], options, 1);
    const Exchange whole(messages);
    HeadExchange exchange(messages, kWhat);
    Array of_d_out, of_d_lse;
    exchange.to_heads(d_out, heads.queries, of_d_out);
    if (d_lse != nullptr) {
        exchange.to_heads(*d_lse, heads.queries, of_d_lse);
    }
    exchange.wait();

    const OptionsOfHeads own(options, H, rank, ranks);
    SpatialGradients found = gradients;
    Array d_q, d_k, d_v;
    const auto give = [](const muattn_tensor *&wanted, Array &memory, const muattn_tensor &of) {
        if (wanted != nullptr) {
            memory = Array(of.dtype, shape_of(of));
            wanted = &memory.view();
        }
    };
    give(found.d_q, d_q, q);
    give(found.d_k, d_k, k);
    give(found.d_v, d_v, v);
    clear(gradients.d_scale, H);
    clear(gradients.d_sink, H);
    const int64_t first = q.shape[1] * rank;
    found.d_scale = gradients.d_scale != nullptr ? gradients.d_scale + first : nullptr;
    found.d_sink = gradients.d_sink != nullptr ? gradients.d_sink + first : nullptr;
    muattn_tensor d_mask{};
    if (gradients.d_mask != nullptr) {
        d_mask = *gradients.d_mask;
        if (d_mask.shape[1] > 1) {
            fill(d_mask, 0.0f);
            d_mask = slice(d_mask, 1, first, q.shape[1]);
        }
        found.d_mask = &d_mask;
    }
    spatial_attention_backward(q, k, v, heads.out.view(), heads.lse.view(), of_d_out.view(), found, own.options,
                               d_lse != nullptr ? &of_d_lse.view() : nullptr);

    if (gradients.d_q != nullptr) {
        exchange.to_tokens(d_q.view(), heads.queries, *gradients.d_q);
    }
    if (gradients.d_k != nullptr) {
        exchange.to_tokens(d_k.view(), heads.keys, *gradients.d_k);
    }
    if (gradients.d_v != nullptr) {
        exchange.to_tokens(d_v.view(), heads.keys, *gradients.d_v);
    }
    exchange.wait();
}

}  // namespace muattn::mpi
