// What the ring's forward and backward calls share.
#pragma once

#include <cstdint>
#include <vector>

#include "muattn/mpi/spatial.hpp"
#include "muattn/mpi/travel.hpp"

namespace muattn::mpi::detail {

// Of an argument of this rank, before the ranks compare.
inline void require_ring(const muattn_tensor &q, const muattn_tensor &k, const SpatialOptions &options) {
    require_kind(q, k);
    require_offsets(options, q.shape[0]);
    if (options.mask != nullptr) {
        throw Error(MUATTN_INVALID_MASK,
                    "mask must be null, as no rank has all keys at once: take causal, window or key_lengths, or "
                    "ulysses_attention(), which takes it");
    }
}

// When all ranks agree.
class RingCall {
public:
    RingCall(Messages &messages, const char *what, const TokenCounts &counts, const muattn_tensor &q,
             const SpatialOptions &options, Balance balance)
        : route{messages, what, counts.k, {}}, options_(options) {
        require_balance(what, counts, balance);
        const int64_t n_q = distributed::sum_of(counts.q), n_k = distributed::sum_of(counts.k);
        require_key_lengths(what, options, q.shape[0], n_k);
        const SpatialRule rule = spatial_rule(options, q.shape[3], n_k);
        scale_ = float(rule.scale);
        output_multiplier =
            options.output_multiplier != nullptr ? *options.output_multiplier : float(rule.output_multiplier);
        sight_ = distributed::sight_of(q.shape[0], n_q, n_k, options);
        const auto queries = distributed::stretches_of(counts.q, balance);
        keys_ = distributed::stretches_of(counts.k, balance);
        route.last_hops = distributed::last_hops(queries, keys_, sight_);
        own_ = queries[size_t(messages.rank())];
        query_rows = distributed::rows_of(own_);
    }

    std::vector<distributed::Part> parts(int owner) const {
        return distributed::parts_of(own_, keys_[size_t(owner)], sight_);
    }

    // Without the sink, which counts once for all parts, and the output multiplier.
    SpatialOptions options_of(const distributed::Part &part) const {
        SpatialOptions options{};
        options.scale = options_.scale != nullptr ? options_.scale : &scale_;
        options.scale_count = options_.scale != nullptr ? options_.scale_count : 1;
        options.softcap = options_.softcap;
        if (part.offsets) {
            options.causal = MUATTN_CAUSAL_OFFSET;
            options.causal_offset = part.offsets->empty() ? 0 : (*part.offsets)[0];
            options.causal_offsets = part.offsets->size() > 1 ? part.offsets->data() : nullptr;
        }
        if (part.window_left) {
            options.window = {1, *part.window_left, 0};
        }
        options.key_lengths = part.lengths ? part.lengths->data() : nullptr;
        return options;
    }
    const float *sink() const { return options_.sink; }

    Route route;
    std::vector<distributed::Rows> query_rows;  // of this rank's stretches
    float output_multiplier = 1.0f;

private:
    const SpatialOptions &options_;
    float scale_ = 1.0f;
    distributed::Sight sight_;
    std::vector<distributed::Stretches> keys_;
    distributed::Stretches own_;
};

}  // namespace muattn::mpi::detail
