// Which kernel computes a call of spatial attention, and what memory it takes.
#include "algorithms.h"

#include <algorithm>

#include "hidden_values.h"
#include "schedules/spatial_attention/general_numbers.h"
#include "schedules/spatial_attention/few_keys_numbers.h"
#include "schedules/spatial_attention/split_keys_numbers.h"

namespace muattn {
namespace {

static_assert(int(Kind::lse) == int(Kind::plain) + 1 && int(Kind::softcap) == int(Kind::plain) + 2 &&
              int(Kind::additive_softcap_lse) == int(Kind::additive) + 3 &&
              int(Kind::boolean_softcap_lse) == int(Kind::boolean) + 3 &&
              int(Kind::guarded_lse) == int(Kind::guarded) + 1 &&
              int(Kind::split_guarded_lse) == int(Kind::split) + 3 &&
              int(Kind::short_additive) == int(Kind::short_plain) + 2 &&
              int(Kind::short_boolean) == int(Kind::short_plain) + 4 &&
              int(Kind::short_boolean_lse) == int(Kind::short_boolean) + 1);

bool is_split(const Kernel &kernel) {
    return int(kernel.kind) >= int(Kind::split) && int(kernel.kind) <= int(Kind::split_guarded_lse);
}

bool is_short(const Kernel &kernel) {
    return int(kernel.kind) >= int(Kind::short_plain) && int(kernel.kind) <= int(Kind::short_boolean_lse);
}

template<typename Schedule>
Schedule schedule_of(const Kernel &kernel) {
    auto schedule = Schedule::defaults(kernel.machine);
    schedule.override_with(kernel.parameters);
    return schedule;
}

// Whether the general kernel is faster than that of few keys, for a call with many queries and no mask. The latter pads keys and columns to
// register tiles of vectors, the former queries to blocks, and keys and columns to a few. From 512 queries on the one with fewer
// products was faster by their ratio (Zen 5, AVX-512, 13 shapes), but for a sixteenth or so, which the general one spends on
// transposed copies and a running softmax. With a mask it would transpose that as well.
bool pads_less(const Kernel &general, const Kernel &few_keys, const SpatialCall &call) {
    constexpr double kShare = 1.0 / 16;
    const auto products = [&](const auto &schedule) {
        return double(schedule.products(call.n_q, call.n_k, call.d, call.d_v));
    };
    return products(schedule_of<schedule::SpatialGeneral>(general)) <
           (1 - kShare) * products(schedule_of<schedule::SpatialFewKeys>(few_keys));
}

// Whether the kernel that splits keys is faster than one that does not, or leaves fewer threads idle. A function of shapes alone, so that
// the result does not depend on the number of threads.
bool is_worth_splitting(const Kernel &split, const Kernel &tiles, bool is_for_few_keys, const SpatialCall &call) {
    constexpr int64_t kFewRows = 32, kTasksOfACommonMachine = 16;
    const auto schedule = schedule_of<schedule::SpatialSplitKeys>(split);
    const int64_t group = call.H / call.Hk, rows = call.n_q * group,
                  computed = schedule.blocks(rows) * schedule.block_rows;
    // Measured with AVX2 and AVX-512, d = 64 and 128, 64 to 2048 keys: a row of this kernel takes as long as 1.4 to 1.6 of the general
    // kernel, which pads each head's queries to a block of vectors; up to 8 rows it is faster than that for few keys.
    constexpr int64_t kRowsOfFewKeys = 8;
    if (is_for_few_keys) {
        return computed <= kRowsOfFewKeys * group;
    }
    const auto blocks = schedule_of<schedule::SpatialGeneral>(tiles);
    const bool leaves_threads_idle =
        rows <= kFewRows && call.B * call.H * blocks.tiles(call.n_q) < kTasksOfACommonMachine;
    return leaves_threads_idle || 3 * computed <= 2 * group * blocks.padded_rows(call.n_q);
}

// The kernels of a call. A smaller build may have only some of them, or only those that are for more calls.
struct Kernels {
    const SpatialCall &call;
    const muattn_spatial_options &options;
    int backend;
    bool negative_strides;
    enum { unknown, no, yes } guard = unknown;  // whether hidden values need it

    const Kernel *find(Kind first, int number = 0) const {
        return find_kernel(backend, Operation::spatial_attention, Direction::forward, call.q.tensor.dtype,
                           Kind(int(first) + number + int(call.with_lse)), negative_strides);
    }

    // Halide's buffers are below 2^31 bytes; with that many heads there is work for every thread without splitting keys.
    const Kernel *split() {
        constexpr int64_t kMostSerialBytes = INT64_C(1) << 30;
        const Kernel *kernel = find(Kind::split, 2 * (call.with_mask || softcap() || needs_guard()));
        return kernel != nullptr && work_of(call, *kernel).serial_bytes <= kMostSerialBytes ? kernel : nullptr;
    }
    // One whose blocks are those of every kernel that does not split keys.
    const Kernel *tiles() const {
        const Kernel *plain = find(Kind::plain);
        return plain != nullptr ? plain : guarded();
    }
    const Kernel *few_keys() {
        return !is_for_few_keys() || needs_guard() ? nullptr : find(Kind::short_plain, 2 * mask());
    }
    const Kernel *general() { return needs_guard() ? guarded() : find(Kind::plain, 4 * mask() + 2 * softcap()); }
    const Kernel *guarded() const { return find(Kind::guarded); }

    // All logits of a row at once are faster while a block of them stays in cache; but they are computed for every key.
    bool is_for_few_keys() const {
        constexpr int64_t kFewKeys = 512;
        return call.n_k <= kFewKeys && options.key_lengths == nullptr && !softcap() && call.no_window();
    }

    bool softcap() const { return options.softcap > 0; }
    int mask() const { return !call.with_mask ? 0 : call.mask.tensor.dtype == MUATTN_BOOL ? 2 : 1; }
    // Reads V, so only where the kind depends on it.
    bool needs_guard() {
        if (guard == unknown) {
            guard = hidden_values_need_guard(call) ? yes : no;
        }
        return guard == yes;
    }
};

}  // namespace

Work work_of(const SpatialCall &call, const Kernel &kernel) {
    if (is_short(kernel)) {
        const auto schedule = schedule_of<schedule::SpatialFewKeys>(kernel);
        return {call.B * call.H * schedule.row_tiles(call.n_q),
                schedule.scratch_bytes(call.n_k, call.d, call.d_v, Slab::block_bytes)};
    }
    if (!is_split(kernel)) {
        const auto schedule = schedule_of<schedule::SpatialGeneral>(kernel);
        return {call.B * call.H * schedule.tiles(call.n_q),
                schedule.scratch_bytes(call.n_q, call.d, call.d_v, Slab::block_bytes)};
    }
    const auto schedule = schedule_of<schedule::SpatialSplitKeys>(kernel);
    const int64_t rows = call.n_q * (call.H / call.Hk), maps = call.B * call.Hk;
    return {maps * schedule.spans(call.n_k), schedule.scratch_bytes(call.d_v, Slab::block_bytes),
            schedule.serial_bytes(maps, rows, call.n_k, call.d, call.d_v, Slab::block_bytes)};
}

const Kernel *choose_spatial_kernel(const SpatialCall &call, const muattn_spatial_options &options, int backend,
                                    bool negative_strides) {
    Kernels kernels{call, options, backend, negative_strides};
    constexpr int64_t kKeysPerQuery = 4;
    if (call.n_k >= kKeysPerQuery * call.n_q) {
        const Kernel *tiles = kernels.tiles(), *split = tiles != nullptr ? kernels.split() : nullptr;
        if (split != nullptr && is_worth_splitting(*split, *tiles, kernels.is_for_few_keys(), call)) {
            return split;
        }
    }
    constexpr int64_t kManyQueries = 512;  // with fewer, what pads_less() gains is not worth looking for
    if (const Kernel *few_keys = kernels.few_keys()) {
        const Kernel *general = !call.with_mask && call.n_q >= kManyQueries ? kernels.general() : nullptr;
        return general != nullptr && pads_less(*general, *few_keys, call) ? general : few_keys;
    }
    const Kernel *kernel = kernels.general();
    kernel = kernel != nullptr ? kernel : kernels.guarded();
    return kernel != nullptr ? kernel : kernels.split();
}

}  // namespace muattn
