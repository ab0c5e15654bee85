// Spatial attention over stretches of a sequence: which keys a query sees there, and the kernel calls that this takes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "muattn/distributed/stretches.hpp"
#include "muattn/muattn.h"

namespace muattn::distributed {

// Query i sees key j, both counted in the whole sequence, if i + offset + left <= j <= i + offset + right and j < length.
struct Sight {
    std::vector<int64_t> offsets{0};            // of each batch entry, or one for all
    int64_t least_offset = 0, most_offset = 0;  // of these
    std::optional<int64_t> left, right;
    std::optional<std::vector<int64_t>> lengths;  // of each batch entry
};

// A kernel call: rows of the rank's queries and of the block of keys, and what the kernel is to be told of their places.
struct Part {
    Rows queries, keys;
    std::optional<std::vector<int64_t>> offsets{};  // of a causal mask
    std::optional<int64_t> window_left{};           // with the causal mask; the right side is 0
    std::optional<std::vector<int64_t>> lengths{};
};

// Sums of offsets and tokens are to stay within 64 bits.
constexpr int64_t kMaxOffset = INT64_C(1) << 60;

// What sight_of() takes of options.
constexpr const char *kOffsetRule = "causal_offset must lie in -2^60..2^60";
inline bool has_near_offsets(const muattn_spatial_options &options, int64_t B) {
    const auto is_near = [](int64_t offset) { return offset >= -kMaxOffset && offset <= kMaxOffset; };
    return options.causal != MUATTN_CAUSAL_OFFSET ||
           (options.causal_offsets != nullptr ? std::all_of(options.causal_offsets, options.causal_offsets + B, is_near)
                                              : is_near(options.causal_offset));
}

// From the whole call's options, for so many batch entries, queries and keys in all.
inline Sight sight_of(int64_t B, int64_t n_q, int64_t n_k, const muattn_spatial_options &options) {
    Sight sight;
    if (options.key_lengths != nullptr) {
        sight.lengths.emplace(options.key_lengths, options.key_lengths + B);
    }
    if (options.causal == MUATTN_CAUSAL_OFFSET && options.causal_offsets != nullptr) {
        sight.offsets.assign(options.causal_offsets, options.causal_offsets + B);
    } else if (options.causal == MUATTN_CAUSAL_OFFSET) {
        sight.offsets = {options.causal_offset};
    } else if (options.causal == MUATTN_CAUSAL_BOTTOM_RIGHT) {
        sight.offsets = sight.lengths.value_or(std::vector<int64_t>{n_k});
        for (int64_t &offset : sight.offsets) {
            offset -= n_q;
        }
    }
    if (!sight.offsets.empty()) {
        const auto [least, most] = std::minmax_element(sight.offsets.begin(), sight.offsets.end());
        sight.least_offset = *least, sight.most_offset = *most;
    }
    // A side that is longer than any offset hides nothing.
    const auto is_open = [](int64_t side) { return side < 0 || side > 2 * kMaxOffset; };
    if (options.window.enabled) {
        if (!is_open(options.window.left)) {
            sight.left = -options.window.left;
        }
        if (!is_open(options.window.right)) {
            sight.right = options.window.right;
        }
    }
    if (options.causal != MUATTN_CAUSAL_NONE) {
        sight.right = 0;
    }
    return sight;
}

namespace detail {

// What queries of a stretch see of a stretch of keys. Key j of the stretch is seen from i + shift + left to i + shift + right on, i the query in its own;
// shifts differ between batch entries.
struct Pair {
    int64_t n_q, n_k;
    int64_t shift, least, most;  // of offset 0, and of all offsets
    const Sight &sight;

    Pair(const Stretch &queries, const Stretch &keys, const Sight &of)
        : n_q(queries.count),
          n_k(keys.count),
          shift(queries.start - keys.start),
          least(shift + of.least_offset),
          most(shift + of.most_offset),
          sight(of) {}
    bool sees_nothing() const {
        return (sight.right && n_q - 1 + most + *sight.right < 0) || (sight.left && least + *sight.left > n_k - 1);
    }
    bool hides_on_the_right() const { return sight.right && least + *sight.right < n_k - 1; }
    bool hides_on_the_left() const { return sight.left && n_q - 1 + most + *sight.left > 0; }

    void tell(Part &part) const {
        const bool right = hides_on_the_right(), left = hides_on_the_left();
        if (!right && !left) {
            return;
        }
        // A window hangs on a causal mask, here one that hides nothing where nothing is hidden on the right.
        const int64_t edge = right ? *sight.right : *sight.left + std::max<int64_t>(0, n_k - 1 - least - *sight.left);
        part.offsets.emplace();
        for (int64_t offset : sight.offsets) {
            part.offsets->push_back(offset + shift + edge);
        }
        if (left) {
            part.window_left = edge - *sight.left;
        }
    }
};

// The same tokens on both sides in order, and each sees those up to itself: as of one stretch.
inline bool is_whole_triangle(const Stretches &queries, const Stretches &keys, const Sight &sight) {
    return queries == keys && keys.size() > 1 && !sight.left && sight.right == 0 && sight.least_offset == 0 &&
           sight.most_offset == 0;
}

// Neighbours on this side that hide nothing, with the same rows on the other, as one.
inline std::vector<Part> joined(const std::vector<Part> &parts, Rows Part::*side, Rows Part::*other) {
    std::vector<Part> found;
    for (const Part &part : parts) {
        Part *last = found.empty() ? nullptr : &found.back();
        if (last != nullptr && !part.offsets && !last->offsets && last->*other == part.*other &&
            (last->*side).stop == (part.*side).start) {
            (last->*side).stop = (part.*side).stop;
        } else {
            found.push_back(part);
        }
    }
    return found;
}

// Of the keys in these rows, how many each batch entry has: the first ones, as stretches are in order.
inline std::vector<int64_t> lengths_in(const Rows &rows, const Stretches &keys, const std::vector<int64_t> &lengths) {
    std::vector<int64_t> found(lengths.size(), 0);
    const std::vector<Rows> places = rows_of(keys);
    for (size_t i = 0; i < keys.size(); i++) {
        if (rows.start <= places[i].start && places[i].stop <= rows.stop) {
            for (size_t b = 0; b < lengths.size(); b++) {
                found[b] += std::clamp<int64_t>(lengths[b] - keys[i].start, 0, keys[i].count);
            }
        }
    }
    return found;
}

inline bool sees_any(const Stretches &queries, const Stretches &keys, const Sight &sight) {
    for (const Stretch &of_queries : queries) {
        for (const Stretch &of_keys : keys) {
            if (!Pair(of_queries, of_keys, sight).sees_nothing()) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace detail

// The calls for stretches of queries and keys, without those where no query sees a key. Neighbours that hide nothing are one call.
inline std::vector<Part> parts_of(const Stretches &queries, const Stretches &keys, const Sight &sight) {
    std::vector<Part> parts;
    if (detail::is_whole_triangle(queries, keys, sight)) {
        parts.push_back({{0, count_of(queries)}, {0, count_of(keys)}, std::vector<int64_t>{0}});
    } else {
        const std::vector<Rows> query_rows = rows_of(queries), key_rows = rows_of(keys);
        for (size_t i = 0; i < queries.size(); i++) {
            std::vector<Part> of_queries;
            for (size_t j = 0; j < keys.size(); j++) {
                const detail::Pair pair(queries[i], keys[j], sight);
                if (!pair.sees_nothing()) {
                    of_queries.push_back({query_rows[i], key_rows[j]});
                    pair.tell(of_queries.back());
                }
            }
            for (const Part &part : detail::joined(of_queries, &Part::keys, &Part::queries)) {
                parts.push_back(part);
            }
        }
        parts = detail::joined(parts, &Part::queries, &Part::keys);
    }
    if (!sight.lengths) {
        return parts;
    }
    std::vector<Part> found;
    for (Part &part : parts) {
        part.lengths = detail::lengths_in(part.keys, keys, *sight.lengths);
        if (std::any_of(part.lengths->begin(), part.lengths->end(), [](int64_t length) { return length > 0; })) {
            found.push_back(part);
        }
    }
    return found;
}

// For each rank how far its block of keys travels: to the last rank, counted from it on, that sees one of them, key lengths
// left out.
inline std::vector<int64_t> last_hops(const std::vector<Stretches> &queries, const std::vector<Stretches> &keys,
                                      const Sight &sight) {
    const size_t ranks = keys.size();
    std::vector<int64_t> hops(ranks, int64_t(ranks) - 1);
    if (!sight.left && !sight.right) {
        return hops;
    }
    for (size_t owner = 0; owner < ranks; owner++) {
        while (hops[owner] > 0 &&
               !detail::sees_any(queries[(owner + size_t(hops[owner])) % ranks], keys[owner], sight)) {
            hops[owner]--;
        }
    }
    return hops;
}

}  // namespace muattn::distributed
