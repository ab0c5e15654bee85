// Which tokens of a sequence the ranks of a group hold. No communication: for any library of messages.
#pragma once

#include <cstdint>
#include <vector>

namespace muattn::distributed {

enum class Balance {
    none,  // neighbouring stretches in the order of the ranks
    zigzag  // of 2 P pieces for P ranks rank r has number r, then number 2 P - 1 - r: as much to do for each under a causal mask
};

// Neighbouring tokens of the sequence.
struct Stretch {
    int64_t start, count;
};
inline bool operator==(const Stretch &a, const Stretch &b) { return a.start == b.start && a.count == b.count; }

// A rank's, in the order in which they lie in its tensor; none is empty.
using Stretches = std::vector<Stretch>;

// From start up to stop, in a rank's tensor.
struct Rows {
    int64_t start, stop;
    int64_t count() const { return stop - start; }
};
inline bool operator==(const Rows &a, const Rows &b) { return a.start == b.start && a.stop == b.stop; }

// n tokens in neighbouring pieces: their lengths, which differ by 1 at most, the longer ones first.
inline std::vector<int64_t> split(int64_t n, int64_t pieces) {
    std::vector<int64_t> counts;
    for (int64_t i = 0; i < pieces; i++) {
        counts.push_back(n / pieces + (i < n % pieces));
    }
    return counts;
}

// How many of n tokens each rank gets.
inline std::vector<int64_t> counts_of(int64_t n, int64_t ranks, Balance balance) {
    if (balance == Balance::none) {
        return split(n, ranks);
    }
    const std::vector<int64_t> pieces = split(n, 2 * ranks);
    std::vector<int64_t> counts;
    for (int64_t rank = 0; rank < ranks; rank++) {
        counts.push_back(pieces[size_t(rank)] + pieces[size_t(2 * ranks - 1 - rank)]);
    }
    return counts;
}

inline int64_t sum_of(const std::vector<int64_t> &counts) {
    int64_t sum = 0;
    for (int64_t count : counts) {
        sum += count;
    }
    return sum;
}

// For each rank, of the ranks' numbers of tokens; with zigzag these are as counts_of() gives them.
inline std::vector<Stretches> stretches_of(const std::vector<int64_t> &counts, Balance balance) {
    const size_t ranks = counts.size();
    const std::vector<int64_t> pieces = balance == Balance::none ? counts : split(sum_of(counts), 2 * int64_t(ranks));
    std::vector<Stretches> all(ranks);
    int64_t start = 0;
    for (size_t i = 0; i < pieces.size(); start += pieces[i++]) {
        if (pieces[i] > 0) {
            all[i < ranks ? i : 2 * ranks - 1 - i].push_back({start, pieces[i]});
        }
    }
    return all;
}

// Where each stretch lies in the rank's tensor.
inline std::vector<Rows> rows_of(const Stretches &stretches) {
    std::vector<Rows> rows;
    for (const Stretch &stretch : stretches) {
        const int64_t start = rows.empty() ? 0 : rows.back().stop;
        rows.push_back({start, start + stretch.count});
    }
    return rows;
}

inline int64_t count_of(const Stretches &stretches) {
    int64_t count = 0;
    for (const Stretch &stretch : stretches) {
        count += stretch.count;
    }
    return count;
}

}  // namespace muattn::distributed
