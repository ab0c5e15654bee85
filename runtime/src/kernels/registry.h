// The kernels of this build and the choice of one of them. The table is generated from cmake/kernels.cmake.
#pragma once

#include "muattn/muattn.h"
#include "schedules/common/machine.h"

namespace muattn {

enum class Operation { spatial_attention, channel_attention, merge };
enum class Direction { forward };
// The names of cmake/kernels.cmake. _lse also writes the log-sum-exp. spatial_kernel.cpp counts on the order
// of the spatial ones.
enum class Kind {
    plain,
    lse,
    softcap,
    softcap_lse,
    additive,
    additive_lse,
    additive_softcap,
    additive_softcap_lse,
    boolean,
    boolean_lse,
    boolean_softcap,
    boolean_softcap_lse,
    guarded,  // any mask, softcap or not; keeps NaN and infinity of hidden values out
    guarded_lse,
    split,  // few queries, many keys
    split_lse,
    split_guarded,  // as guarded
    split_guarded_lse,
    short_plain,  // few keys, all of which every query may see
    short_lse,
    short_additive,
    short_additive_lse,
    short_boolean,
    short_boolean_lse,
    last,  // channels-last
    last_normalized,
    triple,  // channels-last, blocks of three vectors of rows
    triple_normalized,
    pair,  // of two
    pair_normalized,
    first,  // channels-first
    first_normalized,
};

struct Kernel {
    static constexpr int kMaxParameters = 8;

    const char *name;
    Operation operation;
    Direction direction;
    muattn_dtype dtype;
    Kind kind;
    int backend;   // index for muattn_backend_name
    int head_dim;  // d and d_v that it has room for; 0: any
    schedule::Machine machine;
    int parameters[kMaxParameters];  // of the schedule, in the order of its override_with(); 0: the machine's default
    int (*run)(void **arguments);    // Halide's uniform entry point; 0 or a Halide error code
};

// The backend of a call whose tensors are in this device's memory: the forced one, else the best. MUATTN_INVALID_BACKEND where
// the forced one cannot reach that memory, or none can; MUATTN_UNSUPPORTED where this machine can run none.
muattn_status choose_backend(muattn_device device, int *backend);
// Whether the processor runs the host's part of GPU kernels, and Halide's runtime.
bool runs_gpu_kernels();
// The device that a backend computes on.
muattn_device device_of(int backend);

// The kernel of a backend; of those with room for d and d_v only, the first with room for head_dim. Null where there is none,
// which may be no failure. Negative strides: where the backend cannot have them (Machine::scalable), that of the next one that can.
const Kernel *find_kernel(int backend, Operation operation, Direction direction, muattn_dtype dtype, Kind kind,
                          bool negative_strides, int64_t head_dim = 0);
// The failure of a call for which find_kernel() found none.
muattn_status no_kernel(int backend, int64_t head_dim = 0);

// For muattn_last_kernel().
void remember_kernel(const Kernel &kernel);
void forget_kernel();

}  // namespace muattn
