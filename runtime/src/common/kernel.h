// What a kernel is: a row of tables/kernels.json. And which calls it serves.
#pragma once

#include <cstdint>

#include "muattn/muattn.h"
#include "schedules/common/features.h"
#include "schedules/common/machine.h"
#include "schedules/common/numbers.h"

namespace muattn {

enum class Operation : uint8_t { spatial_attention, channel_attention, merge, convert };
constexpr int kOperations = int(Operation::convert) + 1;
enum class Direction : uint8_t { forward, backward };
// How an operation is computed: the names of generators/<operation>/<algorithm>.cpp.
enum class Algorithm : uint8_t {
    general,
    few_keys,
    split_keys,
    block,
    block_split_keys,
    key_blocks,
    channels_last,
    channels_first,
    tiles,
    // Parts of channel attention's halves, and of its gradients.
    channels_last_map,
    channels_last_product,
    channels_first_map,
    channels_first_product,
    squares,
    softmax,
    transpose,
    gradient,
    // Of both operations: what their logits are like.
    logit_stats,
};
constexpr int kAlgorithms = int(Algorithm::logit_stats) + 1;

// What a kernel can do beyond its algorithm: the axes of tables/kernels.json.
struct Features {
    Mask mask = Mask::none;
    Softcap softcap = Softcap::never;
    bool lse = false;        // writes the log-sum-exp
    bool d_mask = false;     // gives a mask's gradient
    bool guard = false;      // keeps NaN and infinity of hidden values out
    bool normalize = false;  // channels to length 1
    Layout layout = Layout::channels_last;
    int block_vectors = 0;  // blocks of so many vectors of map rows; 0: the schedule's
    int max_d = 0;          // d and d_v that it has room for; 0: any
};

// The element types of q, of k and v, and of out.
struct Types {
    muattn_dtype q, kv, out;

    constexpr bool operator==(const Types &other) const { return q == other.q && kv == other.kv && out == other.out; }
};

struct Kernel {
    const char *name;
    Operation operation;
    Direction direction;
    Algorithm algorithm;
    Types types;
    Features features;
    int backend;  // index for muattn_backend_name
    muattn_device device;
    schedule::Machine machine;
    schedule::NumberValues numbers;  // of its schedule, that are not the machine's defaults
    int (*run)(void **arguments);    // Halide's uniform entry point; 0 or a Halide error code
};

// What a call asks of its kernel.
struct Need {
    Operation operation;
    Direction direction;
    Types types;
    Features features{};            // max_d: the larger of d and d_v
    bool negative_strides = false;  // which kernels for scalable vectors do not take (Machine::scalable)
};

// How much more than the need a kernel does, which takes time; -1 where it does less. Of the kernels that serve a call that with the
// least surplus is the one for it.
constexpr int surplus(const Kernel &kernel, const Need &need) {
    const Features &has = kernel.features, &wants = need.features;
    const bool mask = has.mask == wants.mask || has.mask == Mask::any;
    const bool softcap = has.softcap == wants.softcap || has.softcap == Softcap::optional;
    const bool at_least = has.lse >= wants.lse && has.d_mask >= wants.d_mask && has.guard >= wants.guard;
    const bool equal =
        has.normalize == wants.normalize && has.layout == wants.layout && has.block_vectors == wants.block_vectors;
    const bool room = has.max_d == 0 || has.max_d >= wants.max_d;
    if (!mask || !softcap || !at_least || !equal || !room || !(kernel.types == need.types) ||
        (need.negative_strides && kernel.machine.scalable)) {
        return -1;
    }
    // Room for a larger d costs more than anything else.
    return int(has.mask != wants.mask) + int(has.softcap != wants.softcap) + int(has.lse != wants.lse) +
           int(has.d_mask != wants.d_mask) + int(has.guard != wants.guard) + 8 * has.max_d;
}

// A schedule with the kernel's own numbers. More: what its defaults() take besides the machine.
template<typename Schedule, typename... More>
constexpr Schedule schedule_of(const Kernel &kernel, More... more) {
    return schedule::overridden(Schedule::defaults(kernel.machine, more...), kernel.numbers);
}

}  // namespace muattn
