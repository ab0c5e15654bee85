// What the ring and Ulysses share: the arguments of spatial attention, before any rank waits for another.
#pragma once

#include <string>
#include <vector>

#include "muattn/distributed/parts.hpp"
#include "muattn/mpi/agreement.hpp"
#include "muattn/mpi/arrays.hpp"

namespace muattn::mpi {

using distributed::Balance;
using distributed::Stretch;

// Which of a sequence's n tokens this rank holds, in the order in which they lie in its tensors.
inline std::vector<Stretch> stretches(const Group &group, int64_t n, Balance balance = Balance::none) {
    return distributed::stretches_of(distributed::counts_of(n, group.size(), balance), balance)[group.rank()];
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
    if (q.device != MUATTN_CPU) {
        throw Error(MUATTN_UNSUPPORTED, "q.device: tensors must be in the processor's memory");
    }
    if (k.dtype == MUATTN_INT8) {
        throw Error(MUATTN_INVALID_K,
                    "k.dtype must be float32, float16 or bfloat16: int8 is for the single call alone");
    }
}

inline void require_offsets(const SpatialOptions &options, int64_t B) {
    if (!distributed::has_near_offsets(options, B)) {
        throw Error(MUATTN_INVALID_CAUSAL, "causal_offset must lie in -2^60..2^60");
    }
}

inline void add_facts(Facts &facts, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                      const SpatialOptions &options, Balance balance) {
    const int64_t B = q.shape[0], H = q.shape[1];
    const auto add_sizes = [&](const char *name, const muattn_tensor &t) {
        const int64_t sizes[] = {t.shape[0], t.shape[1], t.shape[3]};
        facts.add_numbers("sizes of " + std::string(name) + " [batch, heads, channels]", sizes, 3);
        facts.add_number("dtype of " + std::string(name), int(t.dtype));
    };
    add_sizes("q", q);
    add_sizes("k", k);
    add_sizes("v", v);
    facts.add("balance", balance == Balance::zigzag ? "zigzag" : "none");
    facts.add_number("scaling", int(options.scaling));
    facts.add_number("d_base", options.d_base);
    facts.add_number("alpha", options.alpha);
    facts.add_number("power", options.power);
    facts.add_numbers("scale", options.scale, options.scale_count);
    facts.add_numbers("output_multiplier", options.output_multiplier, 1);
    facts.add_number("causal", int(options.causal));
    facts.add_number("causal_offset", options.causal == MUATTN_CAUSAL_OFFSET ? options.causal_offset : 0);
    facts.add_numbers("causal_offsets", options.causal_offsets, B);
    const int64_t window[] = {options.window.left, options.window.right};
    facts.add_numbers("window", options.window.enabled ? window : nullptr, 2);
    facts.add_numbers("key_lengths", options.key_lengths, B);
    facts.add_number("softcap", options.softcap);
    facts.add_numbers("sink", options.sink, H);
    if (options.mask != nullptr) {
        facts.add_number("dtype of mask", int(options.mask->dtype));
        facts.add_numbers("shape of mask", options.mask->shape, 4);
    }
}

// Where ranks' numbers of tokens are known: on all of them alike.
inline void require_counts(const char *name, const std::vector<int64_t> &counts, Balance balance) {
    const int64_t n = distributed::sum_of(counts);
    if (balance == Balance::zigzag && counts != distributed::counts_of(n, int64_t(counts.size()), balance)) {
        throw Error(MUATTN_INVALID_ARGUMENT,
                    (std::string(name) + ": zigzag wants the tokens that stretches() gives to each rank").c_str());
    }
}
inline void require_key_lengths(const SpatialOptions &options, int64_t B, int64_t n_k) {
    for (int64_t b = 0; options.key_lengths != nullptr && b < B; b++) {
        if (options.key_lengths[b] < 0 || options.key_lengths[b] > n_k) {
            throw Error(MUATTN_INVALID_KEY_LENGTHS,
                        ("key_lengths[" + std::to_string(b) + "] must lie in 0.." + std::to_string(n_k) +
                         ", the keys of all ranks, not be " + std::to_string(options.key_lengths[b]))
                            .c_str());
        }
    }
}

}  // namespace detail

}  // namespace muattn::mpi
