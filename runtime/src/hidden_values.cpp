// Whether values that a call hides from some query may be multiplied by 0.
#include "hidden_values.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "halide_hooks.h"

namespace muattn {
namespace {

bool any_not_finite(const float *x, int64_t count) {
    uint32_t any = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        any |= uint32_t((bits & 0x7f800000u) == 0x7f800000u);
    }
    return any != 0;
}

struct Search {
    const SpatialCall &call;
    const int64_t *key_lengths;
    int64_t first, last;  // keys that every query sees; those before and after are hidden from some
    int64_t of_piece;     // heads
    std::atomic<bool> found{false};

    int64_t heads() const { return call.B * call.Hk; }
    int pieces() const { return int((heads() + of_piece - 1) / of_piece); }

    bool any_in(const float *head, int64_t begin, int64_t end) const {
        const int64_t stride = call.v.tensor.strides[2];
        if (stride == call.d_v && begin < end) {
            return any_not_finite(head + begin * call.d_v, (end - begin) * call.d_v);
        }
        for (int64_t j = begin; j < end; j++) {
            if (any_not_finite(head + j * stride, call.d_v)) {
                return true;
            }
        }
        return false;
    }

    void look(int piece) {
        const int64_t *s = call.v.tensor.strides, begin = piece * of_piece, end = std::min(begin + of_piece, heads());
        for (int64_t i = begin; i < end && !found.load(std::memory_order_relaxed); i++) {
            const int64_t b = i / call.Hk, length = key_lengths != nullptr ? key_lengths[b] : call.n_k;
            const float *head = call.v.data() + b * s[0] + i % call.Hk * s[1];
            if (any_in(head, 0, std::min(first, length)) || any_in(head, std::max(first, last), length)) {
                found.store(true, std::memory_order_relaxed);
            }
        }
    }
};

void look(void *search, int piece) { static_cast<Search *>(search)->look(piece); }

}  // namespace

bool hidden_values_need_guard(const SpatialCall &call, const int64_t *key_lengths) {
    // A mask may hide any.
    const int64_t first = call.with_mask ? 0 : std::max<int64_t>(0, call.n_q - 1 + call.window_first);
    const int64_t last = call.with_mask ? 0 : std::min<int64_t>(call.n_k, call.window_last);
    // A piece is large enough to be worth a thread's attention.
    constexpr int64_t kValuesOfAPiece = 1 << 14;
    const int64_t hidden =
        (std::min(first, call.n_k) + call.n_k - std::min(std::max(first, last), call.n_k)) * call.d_v;
    Search search{call, key_lengths, first, last, 1 + kValuesOfAPiece / (hidden + 1)};
    constexpr int kFewPieces = 4;
    if (search.pieces() < kFewPieces) {
        for (int i = 0; i < search.pieces(); i++) {
            search.look(i);
        }
    } else {
        run_parallel(search.pieces(), look, &search);
    }
    return search.found;
}

}  // namespace muattn
