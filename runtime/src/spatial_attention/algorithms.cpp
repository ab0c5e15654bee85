// The algorithms of spatial attention on processors and on GPUs: which calls each is the fastest for, and what memory it takes.
#include "algorithms.h"

#include <iterator>

#include "hidden_values.h"
#include "schedules/spatial_attention/block_numbers.h"
#include "schedules/spatial_attention/few_keys_numbers.h"
#include "schedules/spatial_attention/general_numbers.h"
#include "schedules/spatial_attention/split_keys_numbers.h"

namespace muattn {
namespace {

using schedule::SpatialBlock;
using schedule::SpatialFewKeys;
using schedule::SpatialGeneral;
using schedule::SpatialSplitKeys;

// The kernels of a call. A smaller build may have only some of them, or only those that do more.
class Kernels {
public:
    Kernels(const SpatialCall &of, int backend) : call(of), backend_(backend), need_(need_of(of)) {}

    // Values that are hidden are read only where a guard against them would be another kernel.
    const Kernel *find(Algorithm algorithm) {
        const Kernel *kernel = find(algorithm, need_);
        if (kernel == nullptr || kernel->features.guard || !hidden_values_need_guard()) {
            return kernel;
        }
        Need guarded = need_;
        guarded.features.guard = true;
        return find(algorithm, guarded);
    }
    // One that tells the blocks of all kernels of the algorithm.
    const Kernel *find_any(Algorithm algorithm) const {
        Need need = need_;
        need.features = Features{};
        need.features.lse = need_.features.lse;
        return find(algorithm, need);
    }

    const SpatialCall &call;

private:
    bool hidden_values_need_guard() {
        if (guard_ == unknown) {
            guard_ = muattn::hidden_values_need_guard(call) ? yes : no;
        }
        return guard_ == yes;
    }

    // On processors queries and outputs may be converted, and keys and values where they are few, or where float32 has a kernel for the call's mask or
    // softcap, which kernels of 16 bits have not (prefill took 1.5 times as long with theirs for any): not a long cache.
    const Kernel *find(Algorithm algorithm, Need need) const {
        constexpr int64_t kMostCopied = 1 << 20;  // numbers of a head
        constexpr muattn_dtype kFloat = MUATTN_FLOAT32;
        const Types given = need.types, with_keys{kFloat, given.kv, kFloat}, copied{kFloat, kFloat, kFloat};
        const bool converts = kHasOtherTypes && device_of(backend_) == MUATTN_CPU && given.kv != MUATTN_INT8;
        const bool special = need.features.mask != Mask::none || need.features.softcap != Softcap::never;
        const bool copies_first =
            converts && algorithm == Algorithm::general && special && call.n_k * (call.d + call.d_v) <= kMostCopied;
        const Types types[] = {copies_first ? copied : given, given, with_keys, copied};
        const int count = !kHasOtherTypes || device_of(backend_) != MUATTN_CPU          ? 1
                          : algorithm == Algorithm::few_keys && given.kv != MUATTN_INT8 ? 4
                                                                                        : 3;
        for (int i = 0; i < count; i++) {
            need.types = types[i];
            if (const Kernel *kernel = find_kernel(backend_, algorithm, need)) {
                return kernel;
            }
        }
        return nullptr;
    }

    int backend_;
    Need need_;
    enum { unknown, no, yes } guard_ = unknown;
};

// A call goes to the first of a list that suits it and says that it is the fastest.
struct SpatialAlgorithm {
    Algorithm name;
    bool computes_all;                                        // whether it is right, if slow, for every call
    bool (*suits)(const SpatialCall &call);                   // no kernel is looked for otherwise
    bool (*is_fastest)(Kernels &kernels, const Kernel &own);  // of the calls that it suits
    Work (*work)(const SpatialCall &call, const Kernel &kernel);
    int64_t (*queries_together)(const Kernel &kernel);
};

bool always(const SpatialCall &) { return true; }
bool always(Kernels &, const Kernel &) { return true; }
int64_t all(const Kernel &) { return 0; }

namespace few_keys {

// All logits of a row at once are faster while a block of them stays in cache; but they are computed for every key.
bool suits(const SpatialCall &call) {
    constexpr int64_t kFewKeys = 512;
    return call.n_k <= kFewKeys && !call.with_key_lengths && call.softcap == 0 && call.no_window() &&
           !call.with_row_scales();
}

// The general kernel pads queries to blocks, and keys and columns to a few; this one pads keys and columns to register tiles of vectors.
// From 512 queries on the one whose products cost less was faster by their ratio (Zen 5, AVX-512, 13 shapes), but for a sixteenth or so,
// which the general one spends on transposed copies and a running softmax. With a mask it would transpose that as well.
bool is_fastest(Kernels &kernels, const Kernel &own) {
    constexpr int64_t kManyQueries = 512;  // with fewer, what could be gained is not worth looking for
    constexpr double kShare = 1.0 / 16;
    const SpatialCall &call = kernels.call;
    const Kernel *general = !call.with_mask && call.n_q >= kManyQueries ? kernels.find(Algorithm::general) : nullptr;
    if (general == nullptr) {
        return true;
    }
    const auto cost = [&](const auto &schedule) { return double(schedule.cost(call.n_q, call.n_k, call.d, call.d_v)); };
    return cost(schedule_of<SpatialGeneral>(*general)) >= (1 - kShare) * cost(schedule_of<SpatialFewKeys>(own));
}

Work work(const SpatialCall &call, const Kernel &kernel) {
    const auto schedule = schedule_of<SpatialFewKeys>(kernel);
    return {call.B * call.H * schedule.row_tiles(call.n_q),
            schedule.scratch_bytes(call.n_k, call.d, call.d_v, Slab::block_bytes)};
}

int64_t queries_together(const Kernel &kernel) { return schedule_of<SpatialFewKeys>(kernel).tile_rows(); }

}  // namespace few_keys

namespace split_keys {

bool suits(const SpatialCall &call) {
    constexpr int64_t kKeysPerQuery = 4;
    return call.n_k >= kKeysPerQuery * call.n_q;
}

// Whether this is faster than a kernel that does not split keys, or leaves fewer threads idle. A function of shapes alone, so that the
// result does not depend on the number of threads.
bool is_fastest(Kernels &kernels, const Kernel &own) {
    constexpr int64_t kFewRows = 32, kTasksOfACommonMachine = 16;
    const Kernel *general = kernels.find_any(Algorithm::general);
    if (general == nullptr) {
        return false;
    }
    const SpatialCall &call = kernels.call;
    const auto schedule = schedule_of<SpatialSplitKeys>(own);
    const int64_t computed = schedule.blocks(call.shared_rows()) * schedule.block_rows;
    // Measured with AVX2 and AVX-512, d = 64 and 128, 64 to 2048 keys: a row of this kernel takes as long as 1.4 to 1.6 of the general
    // kernel, which pads each head's queries to a block of vectors; up to 8 rows it is faster than that for few keys.
    constexpr int64_t kRowsOfFewKeys = 8;
    if (few_keys::suits(call)) {
        return computed <= kRowsOfFewKeys * call.group();
    }
    const auto blocks = schedule_of<SpatialGeneral>(*general);
    const bool leaves_threads_idle =
        call.shared_rows() <= kFewRows && call.B * call.H * blocks.tiles(call.n_q) < kTasksOfACommonMachine;
    return leaves_threads_idle || 3 * computed <= 2 * call.group() * blocks.padded_rows(call.n_q);
}

Work work(const SpatialCall &call, const Kernel &kernel) {
    const auto schedule = schedule_of<SpatialSplitKeys>(kernel);
    const int64_t maps = call.B * call.Hk;
    return {maps * schedule.spans(call.n_k), schedule.scratch_bytes(call.d_v, Slab::block_bytes),
            schedule.serial_bytes(maps, call.shared_rows(), call.n_k, call.d, call.d_v, Slab::block_bytes)};
}

}  // namespace split_keys

namespace general {

Work work(const SpatialCall &call, const Kernel &kernel) {
    const auto schedule = schedule_of<SpatialGeneral>(kernel);
    return {call.B * call.H * schedule.tiles(call.n_q),
            schedule.scratch_bytes(call.n_q, call.d, call.d_v, Slab::block_bytes)};
}

int64_t queries_together(const Kernel &kernel) { return schedule_of<SpatialGeneral>(kernel).tile_rows(); }

}  // namespace general

namespace block {

// Few rows to a key/value head leave most thread blocks empty: the keys are split then, unless they are few as well. Numbers
// not measured on a GPU.
bool suits_split_keys(const SpatialCall &call) {
    constexpr int64_t kFewRows = 32, kManyKeys = 512;
    return call.shared_rows() <= kFewRows && call.n_k >= kManyKeys;
}

Work work(const SpatialCall &, const Kernel &kernel) {
    Work work;
    work.shared_bytes = schedule_of<SpatialBlock>(kernel, kernel.features.max_d).shared_bytes();
    return work;
}

}  // namespace block

constexpr SpatialAlgorithm kOnProcessors[] = {
    {Algorithm::split_keys, true, split_keys::suits, split_keys::is_fastest, split_keys::work, all},
    {Algorithm::few_keys, false, few_keys::suits, few_keys::is_fastest, few_keys::work, few_keys::queries_together},
    {Algorithm::general, true, always, always, general::work, general::queries_together},
};
constexpr SpatialAlgorithm kOnGpus[] = {
    {Algorithm::block_split_keys, false, block::suits_split_keys, always, block::work, all},
    {Algorithm::block, true, always, always, block::work, all},
};

Choice choose(Kernels &kernels, const SpatialAlgorithm *begin, const SpatialAlgorithm *end) {
    // Halide's buffers are below 2^31 bytes; where so much would live from step to step, there is work for every thread without that.
    constexpr int64_t kMostSerialBytes = INT64_C(1) << 30;
    const auto try_one = [&](const SpatialAlgorithm &algorithm, bool only_if_fastest) -> Choice {
        const Kernel *kernel = kernels.find(algorithm.name);
        if (kernel == nullptr) {
            return {};
        }
        const Work work = algorithm.work(kernels.call, *kernel);
        // Calls on int8 have no other kernel, and may go by parts.
        const int64_t at_a_time = kernels.call.with_row_scales() ? kernels.call.B * kernels.call.Hk : 1;
        const bool fits = work.serial_bytes / at_a_time <= kMostSerialBytes;
        return fits && (!only_if_fastest || algorithm.is_fastest(kernels, *kernel))
                   ? Choice{kernel, work, algorithm.queries_together(*kernel)}
                   : Choice{};
    };
    for (const SpatialAlgorithm *algorithm = begin; algorithm != end; algorithm++) {
        if (algorithm->suits(kernels.call)) {
            if (const Choice choice = try_one(*algorithm, true); choice.kernel != nullptr) {
                return choice;
            }
        }
    }
    // A smaller build that lacks the one may have another.
    for (const SpatialAlgorithm *algorithm = begin; algorithm != end; algorithm++) {
        if (algorithm->computes_all) {
            if (const Choice choice = try_one(*algorithm, false); choice.kernel != nullptr) {
                return choice;
            }
        }
    }
    return {};
}

}  // namespace

Work work_of(const SpatialCall &call, const Kernel &kernel) {
    const SpatialAlgorithm *algorithm = std::begin(kOnProcessors);
    while (algorithm->name != kernel.algorithm) {
        algorithm++;
    }
    return algorithm->work(call, kernel);
}

Choice choose_kernel(const SpatialCall &call, int backend) {
    Kernels kernels(call, backend);
    return device_of(backend) == MUATTN_CPU ? choose(kernels, std::begin(kOnProcessors), std::end(kOnProcessors))
                                            : choose(kernels, std::begin(kOnGpus), std::end(kOnGpus));
}

}  // namespace muattn
