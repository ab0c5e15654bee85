// Whether values that a call hides from some query may be multiplied by 0.
#include "hidden_values.h"

#include <algorithm>
#include <atomic>
#include <cstring>

#include "common/halide_hooks.h"
#include "kernels/registry.h"

namespace muattn {
namespace {

// What is looked for: numbers that are not finite; or large ones too, which a product may be infinite of, by their exponent as float32 has it.
constexpr uint32_t kNotFinite = 0x7f800000u, kLarge = (127u + 40) << 23;

uint32_t exponent_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits & kNotFinite;
}

// Whether some element has these bits in mask, or more, as a number. mask is without the sign, which the sum sets from least on.
template<typename Bits>
bool any_from(Bits least, Bits mask, const void *data, int64_t count) {
    constexpr Bits kSign = Bits(Bits(1) << (8 * sizeof(Bits) - 1));
    const auto *x = static_cast<const uint8_t *>(data);
    Bits any = 0;
    for (int64_t i = 0; i < count; i++) {
        Bits bits;
        memcpy(&bits, x + i * int64_t(sizeof bits), sizeof bits);
        any |= Bits((bits & mask) + (kSign - least));
    }
    return (any & kSign) != 0;
}

bool any_from(uint32_t exponent, muattn_dtype dtype, const void *data, int64_t count) {
    switch (kHasOtherTypes ? dtype : MUATTN_FLOAT32) {
    case MUATTN_INT8: return false;
    case MUATTN_BFLOAT16: return any_from<uint16_t>(uint16_t(exponent >> 16), kNotFinite >> 16, data, count);
    case MUATTN_FLOAT16: {
        const int32_t here = std::clamp(int32_t(exponent >> 23) - 127 + 15, 0, 31);
        return any_from<uint16_t>(uint16_t(here << 10), 0x7c00, data, count);
    }
    default: return any_from<uint32_t>(exponent, kNotFinite, data, count);
    }
}

// In rows [begin, end) of a head.
bool any_in(const Argument &argument, int64_t b, int64_t h, int64_t begin, int64_t end,
            uint32_t exponent = kNotFinite) {
    const int64_t columns = argument.size(3);
    const muattn_dtype dtype = argument.tensor.dtype;
    if (argument.tensor.strides[2] == columns && begin < end) {
        return any_from(exponent, dtype, argument.row(b, h, begin), (end - begin) * columns);
    }
    for (int64_t row = begin; row < end; row++) {
        if (any_from(exponent, dtype, argument.row(b, h, row), columns)) {
            return true;
        }
    }
    return false;
}

// Whether a key may be hidden: not where an additive mask alone could, and no number of it is nearly as large as what hides one (kInitialMax of
// the kernels). Asked only of a mask that is small, as one that all batch entries share, and much smaller than the numbers that would be looked
// through otherwise; else one may.
bool may_be_hidden(const SpatialCall &call, int64_t others) {
    constexpr uint32_t kNearlyHidden = (127u + 125) << 23;
    constexpr int64_t kSmaller = 4, kMostElements = 1 << 15;  // one thread looks
    const muattn_tensor &mask = call.mask.tensor;
    int64_t elements = 1;
    for (int64_t size : mask.shape) {
        elements *= size;
    }
    if (!call.with_mask || !call.no_window() || call.with_key_lengths || mask.dtype != MUATTN_FLOAT32 ||
        mask.strides[3] != 1 || elements > std::min(others / kSmaller, kMostElements)) {
        return true;
    }
    for (int64_t b = 0; b < mask.shape[0]; b++) {
        for (int64_t h = 0; h < mask.shape[1]; h++) {
            if (any_in(call.mask, b, h, 0, mask.shape[2], kNearlyHidden)) {
                return true;
            }
        }
    }
    return false;
}

// Keys of a batch entry that every query sees, [first, last); those before, and after them up to end,
// are hidden from some. With a mask none counts as seen by all.
struct SeenByAll {
    int64_t first, last, end;

    SeenByAll(const SpatialCall &call, int64_t b) : end(call.visible[b].key_length) {
        const VisibleKeys &visible = call.visible[b];
        first = std::clamp<int64_t>(call.n_q - 1 + visible.window_first, 0, end);
        last = std::clamp<int64_t>(visible.window_last, first, end);
        if (call.with_mask) {
            last = first = 0;
        }
    }
    int64_t hidden() const { return first + end - last; }
};

struct Search {
    const SpatialCall &call;
    int64_t of_piece;  // heads
    std::atomic<bool> found{false};

    int64_t heads() const { return call.B * call.Hk; }
    int pieces() const { return int((heads() + of_piece - 1) / of_piece); }

    void look(int piece) {
        const int64_t begin = piece * of_piece, end = std::min(begin + of_piece, heads());
        for (int64_t i = begin; i < end && !found.load(std::memory_order_relaxed); i++) {
            const int64_t b = i / call.Hk;
            const SeenByAll seen(call, b);
            if (any_in(call.v, b, i % call.Hk, 0, seen.first) || any_in(call.v, b, i % call.Hk, seen.last, seen.end)) {
                found.store(true, std::memory_order_relaxed);
            }
        }
    }
};

void look(void *search, int piece) { static_cast<Search *>(search)->look(piece); }

// One key/value head, of what a backward call multiplies weights with. A weight of 0 times a product that overflows is NaN, too.
struct BackwardSearch {
    const SpatialBackwardCall &call;
    std::atomic<bool> found{false};

    // Kernels multiply d_out with the output multiplier first: the exponents' difference is at most one too small.
    uint32_t large_d_out() const {
        const uint32_t one = exponent_of(1.0f), multiplier = exponent_of(call.forward.output_multiplier);
        return multiplier <= one ? kLarge : kLarge - (multiplier - one) - (1u << 23);
    }

    bool look(int64_t b, int64_t h_kv) const {
        const SpatialCall &forward = call.forward;
        const int64_t keys = forward.visible[b].key_length, group = forward.group();
        if (any_in(forward.k, b, h_kv, 0, keys, kLarge) || any_in(forward.v, b, h_kv, 0, keys, kLarge)) {
            return true;
        }
        for (int64_t h = h_kv * group; h < (h_kv + 1) * group; h++) {
            for (const Argument *of_queries : {&forward.q, &forward.out}) {
                if (any_in(*of_queries, b, h, 0, forward.n_q, kLarge)) {
                    return true;
                }
            }
            if (any_in(call.d_out, b, h, 0, forward.n_q, large_d_out())) {
                return true;
            }
            if (call.with_d_lse && any_in(call.d_lse, b, h, 0, forward.n_q, kLarge)) {
                return true;
            }
        }
        return false;
    }
};

void look_backward(void *context, int map) {
    auto *search = static_cast<BackwardSearch *>(context);
    if (!search->found.load(std::memory_order_relaxed) &&
        search->look(map / search->call.forward.Hk, map % search->call.forward.Hk)) {
        search->found.store(true, std::memory_order_relaxed);
    }
}

}  // namespace

bool hidden_values_need_guard(const SpatialBackwardCall &call) {
    const SpatialCall &forward = call.forward;
    if (!forward.with_mask && forward.no_window()) {
        return false;
    }
    const int64_t columns = forward.d + forward.d_v;
    const int64_t others = forward.B * (forward.Hk * forward.n_k + forward.H * forward.n_q) * columns;
    if (!may_be_hidden(forward, others)) {
        return false;
    }
    BackwardSearch search{call};
    run_parallel(int(forward.B * forward.Hk), look_backward, &search);
    return search.found;
}

bool hidden_values_need_guard(const SpatialCall &call) {
    if (!may_be_hidden(call, call.B * call.Hk * call.n_k * call.d_v)) {
        return false;
    }
    int64_t hidden = 0;  // keys of a head, at most
    for (int64_t b = 0; b < call.visible.count(); b++) {
        hidden = std::max(hidden, SeenByAll(call, b).hidden());
    }
    // A piece is large enough to be worth a thread's attention.
    constexpr int64_t kValuesOfAPiece = 1 << 14;
    Search search{call, 1 + kValuesOfAPiece / (hidden * call.d_v + 1)};
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
