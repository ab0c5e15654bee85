// What the ring and Ulysses share: the arguments of spatial attention, before any rank waits for another.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "muattn/distributed/parts.hpp"
#include "muattn/mpi/agreement.hpp"
#include "muattn/mpi/arrays.hpp"
#include "muattn/mpi/words.hpp"

namespace muattn::mpi {

using distributed::Balance;
using distributed::Stretch;

// Which of a sequence's n tokens this rank holds, in the order in which they lie in its tensors; and how many.
inline std::vector<Stretch> stretches(const Group &group, int64_t n, Balance balance = Balance::none) {
    return distributed::stretches_of(distributed::counts_of(n, group.size(), balance), balance)[size_t(group.rank())];
}
inline int64_t tokens(const Group &group, int64_t n, Balance balance = Balance::none) {
    return distributed::counts_of(n, group.size(), balance)[size_t(group.rank())];
}

namespace detail {

// For checks of this rank's tensors: without what speaks of all tokens.
inline SpatialOptions options_of_part(const SpatialOptions &options) {
    SpatialOptions of_part = options;
    of_part.key_lengths = nullptr;
    of_part.mask = nullptr;
    return of_part;
}

inline void require_kind(const muattn_tensor &q, const muattn_tensor &k) {
    require_processor(q);
    if (k.dtype == MUATTN_INT8) {
        throw Error(MUATTN_INVALID_K,
                    "k.dtype must be float32, float16 or bfloat16: int8 is for the single call alone");
    }
}

inline void require_offsets(const SpatialOptions &options, int64_t B) {
    if (!distributed::has_near_offsets(options, B)) {
        throw Error(MUATTN_INVALID_CAUSAL, distributed::kOffsetRule);
    }
}

// q, k and v: of this rank's tokens.
inline void add_facts(Facts &facts, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                      const SpatialOptions &options) {
    const int64_t B = q.shape[0], H = q.shape[1];
    const auto add_tensor = [&](const std::string &name, const muattn_tensor &t) {
        const int64_t sizes[] = {t.shape[0], t.shape[1], t.shape[3]};
        facts.add_numbers("sizes of " + name + " [batch, heads, channels]", sizes, 3);
        facts.add("dtype of " + name, word_of(t.dtype));
    };
    add_tensor("q", q);
    add_tensor("k", k);
    add_tensor("v", v);
    facts.add("scaling", word_of(options.scaling));
    facts.add_number("d_base", options.d_base);
    facts.add_number("alpha", options.alpha);
    facts.add_number("power", options.power);
    facts.add_numbers("scale", options.scale, options.scale_count);
    facts.add_numbers("output_multiplier", options.output_multiplier, 1);
    facts.add("causal", word_of(options.causal));
    facts.add_number("causal_offset", options.causal == MUATTN_CAUSAL_OFFSET ? options.causal_offset : 0);
    facts.add_numbers("causal_offsets", options.causal_offsets, B);
    const int64_t window[] = {std::max<int64_t>(options.window.left, -1), std::max<int64_t>(options.window.right, -1)};
    facts.add_numbers("window", options.window.enabled ? window : nullptr, 2);
    facts.add_numbers("key_lengths", options.key_lengths, B);
    facts.add_number("softcap", options.softcap);
    facts.add_numbers("sink", options.sink, H);
    facts.add("dtype of mask", options.mask != nullptr ? word_of(options.mask->dtype) : "none");
    facts.add_numbers("shape of mask", options.mask != nullptr ? options.mask->shape : nullptr, 4);
}
inline void add_fact(Facts &facts, Balance balance) {
    facts.add("balance", balance == Balance::zigzag ? "zigzag" : "none");
}

// What follows is of all ranks' numbers of tokens, and so alike on all of them.

inline void require_balance(const char *what, const TokenCounts &counts, Balance balance) {
    for (const std::vector<int64_t> *of : {&counts.q, &counts.k}) {
        const std::vector<int64_t> wanted =
            distributed::counts_of(distributed::sum_of(*of), int64_t(of->size()), balance);
        if (balance == Balance::zigzag && *of != wanted) {
            refuse(what, MUATTN_INVALID_ARGUMENT,
                   std::string(of == &counts.q ? "q" : "k") +
                       ": Balance::zigzag wants the tokens that stretches() gives to each rank, " + words_of(wanted) +
                       ", not " + words_of(*of));
        }
    }
}
inline void require_key_lengths(const char *what, const SpatialOptions &options, int64_t B, int64_t n_k) {
    for (int64_t b = 0; options.key_lengths != nullptr && b < B; b++) {
        if (options.key_lengths[b] < 0 || options.key_lengths[b] > n_k) {
            refuse(what, MUATTN_INVALID_KEY_LENGTHS,
                   "key_lengths[" + std::to_string(b) + "] must lie in 0.." + std::to_string(n_k) +
                       ", the keys of all ranks, not be " + std::to_string(options.key_lengths[b]));
        }
    }
}

}  // namespace detail
}  // namespace muattn::mpi
