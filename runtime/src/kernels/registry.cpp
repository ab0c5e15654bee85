#include "registry.h"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "common/error.h"
#include "gpu/device.h"
#include "schedules/all_numbers.h"
#include "system/processor.h"

#define MUATTN_KERNEL(operation, direction, algorithm, types, backend, symbol, ...) \
    extern "C" int symbol##_argv(void **);
#include "gpu_kernel_table.inc"
#include "kernel_table.inc"
#undef MUATTN_KERNEL

namespace muattn {
namespace {

// The dispatch names of the ladder, best first, and what each needs of the processor and the operating system; then the
// GPUs.
struct Backend {
    const char *name;
    muattn_device device;
    bool (*runs_here)();
};
[[maybe_unused]] constexpr muattn_device device_cuda = MUATTN_CUDA, device_vulkan = MUATTN_VULKAN,
                                         device_opencl = MUATTN_OPENCL;

constexpr Backend backends[] = {
#define MUATTN_BACKEND(name, condition) \
    {"cpu:" #name, MUATTN_CPU, [] {     \
         learn_processor();             \
         return bool(condition);        \
     }},
#include "backend_table.inc"
#undef MUATTN_BACKEND
#define MUATTN_GPU_BACKEND(name, condition) \
    {#name, device_##name, [] { return gpu::unavailable(device_##name) == nullptr; }},
#include "gpu_backend_table.inc"
#undef MUATTN_GPU_BACKEND
};
constexpr int kBackends = sizeof backends / sizeof backends[0];
constexpr int kCpuBackends = 0
#define MUATTN_BACKEND(name, condition) +1  // NOLINT(bugprone-macro-parentheses)
#include "backend_table.inc"
#undef MUATTN_BACKEND
    ;

enum BackendIndex {
#define MUATTN_BACKEND(name, condition) backend_##name,
#include "backend_table.inc"
#undef MUATTN_BACKEND
#define MUATTN_GPU_BACKEND(name, condition) backend_##name,
#include "gpu_backend_table.inc"
#undef MUATTN_GPU_BACKEND
};

[[maybe_unused]] constexpr muattn_dtype dtype_float32 = MUATTN_FLOAT32, dtype_float16 = MUATTN_FLOAT16,
                                        dtype_bfloat16 = MUATTN_BFLOAT16, dtype_int8 = MUATTN_INT8;

#define MUATTN_WITHOUT_PARENTHESES(...) __VA_ARGS__
#define MUATTN_KERNEL(operation, direction, algorithm, types, backend, symbol, name, fields, generator, ...) \
    {name,                                                                                                   \
     Operation::operation,                                                                                   \
     Direction::direction,                                                                                   \
     Algorithm::algorithm,                                                                                   \
     {MUATTN_WITHOUT_PARENTHESES types},                                                                     \
     [] {                                                                                                    \
         Features f;                                                                                         \
         fields;                                                                                             \
         return f;                                                                                           \
     }(),                                                                                                    \
     backend_##backend,                                                                                      \
     backends[backend_##backend].device,                                                                     \
     schedule::machine(schedule::MachineName::backend),                                                      \
     schedule::values_by_name<schedule::of::generator>({__VA_ARGS__}),                                       \
     symbol##_argv},
// Those of a backend, an operation and an algorithm one after the other.
constexpr Kernel kernels[] = {
#include "kernel_table.inc"

#include "gpu_kernel_table.inc"
};
#undef MUATTN_KERNEL
#undef MUATTN_WITHOUT_PARENTHESES
constexpr int kKernels = sizeof kernels / sizeof kernels[0];

// Where a backend's kernels of an operation and an algorithm are in the table.
struct Places {
    struct Range {
        int16_t begin, end;
    };
    Range at[kBackends][kOperations][kAlgorithms] = {};

    constexpr Places() {
        for (int i = 0; i < kKernels; i++) {
            Range &range = at[kernels[i].backend][int(kernels[i].operation)][int(kernels[i].algorithm)];
            range.begin = range.end == 0 ? int16_t(i) : range.begin;
            range.end = int16_t(i + 1);
        }
    }
};
constexpr Places places;

// Then no range holds a kernel of another.
constexpr bool one_after_the_other() {
    int held = 0;
    for (const auto &operations : places.at) {
        for (const auto &algorithms : operations) {
            for (const Places::Range &range : algorithms) {
                held += range.end - range.begin;
            }
        }
    }
    return held == kKernels;
}
static_assert(one_after_the_other(), "tables/kernels.json: the entries of an algorithm follow one another");

constexpr int kAutomatic = -1, kNone = -2;
std::atomic<int> forced{kAutomatic};
thread_local const Kernel *last_kernel = nullptr;

// kNone if this machine runs none.
int best_backend() {
    static std::atomic<int> best{kAutomatic};
    if (best == kAutomatic) {
        // A GPU is used where it is asked for only.
        int i = 0;
        while (i < kCpuBackends && !backends[i].runs_here()) {
            i++;
        }
        best = i < kCpuBackends ? i : kNone;
    }
    return best;
}

int current_backend() {
    const int index = forced;
    return index == kAutomatic ? best_backend() : index;
}

const char *why_not(const Backend &backend) {
    return backend.device != MUATTN_CPU ? gpu::unavailable(backend.device)
                                        : "the processor or its system lacks instructions";
}

}  // namespace

muattn_device device_of(int backend) { return backends[backend].device; }

muattn_status choose_backend(muattn_device device, int *backend) {
    const int current = current_backend();
    if (current == kNone && device == MUATTN_CPU) {
        return fail(MUATTN_UNSUPPORTED, "this machine can run no backend of this build");
    }
    if (device == MUATTN_CPU || (current != kNone && device == backends[current].device)) {
        if (backends[current].device != MUATTN_CPU && !backends[current].runs_here()) {  // any more: after fork()
            return fail(MUATTN_INVALID_BACKEND, "backend: this machine cannot run '%s': %s", backends[current].name,
                        why_not(backends[current]));
        }
        *backend = current;
        return MUATTN_OK;
    }
    for (int i = 0; i < kBackends; i++) {
        if (backends[i].device != device) {
            continue;
        }
        if (forced != kAutomatic) {
            return fail(MUATTN_INVALID_BACKEND, "backend: '%s' is forced and cannot reach tensors in the memory of %s",
                        backends[current].name, backends[i].name);
        }
        if (!backends[i].runs_here()) {
            return fail(MUATTN_INVALID_BACKEND,
                        "backend: the tensors are in the memory of %s, which this machine cannot run: %s",
                        backends[i].name, gpu::unavailable(device));
        }
        *backend = i;
        return MUATTN_OK;
    }
    return fail(MUATTN_INVALID_BACKEND, "backend: this build has none for the memory that the tensors are in");
}

const Kernel *find_kernel(int backend, Algorithm algorithm, const Need &need) {
    for (int wanted = backend; wanted < kBackends && device_of(wanted) == device_of(backend); wanted++) {
        const auto [begin, end] = places.at[wanted][int(need.operation)][int(algorithm)];
        const Kernel *best = nullptr;
        int least = 0;
        for (int i = begin; i < end; i++) {
            const Kernel &kernel = kernels[i];
            const int more = kernel.direction == need.direction ? surplus(kernel, need) : -1;
            if (more == 0) {
                return &kernel;
            }
            if (more > 0 && (best == nullptr || more < least)) {
                best = &kernel;
                least = more;
            }
        }
        if (best != nullptr || !need.negative_strides) {
            return best;
        }
    }
    return nullptr;
}

muattn_status no_kernel(int backend, int64_t head_dim) {
    if (device_of(backend) != MUATTN_CPU && head_dim > 0) {
        return fail(MUATTN_UNSUPPORTED, "this build has no kernel for this call with d or d_v of %lld on backend %s",
                    static_cast<long long>(head_dim), backends[backend].name);
    }
    return fail(MUATTN_UNSUPPORTED, "this build has no kernel for this call on backend %s", backends[backend].name);
}

void remember_kernel(const Kernel &kernel) { last_kernel = &kernel; }

void forget_kernel() { last_kernel = nullptr; }

}  // namespace muattn

extern "C" {

using namespace muattn;

int muattn_backend_count(void) { return kBackends; }

const char *muattn_backend_name(int index) { return index >= 0 && index < kBackends ? backends[index].name : nullptr; }

int muattn_backend_available(int index) { return index >= 0 && index < kBackends && backends[index].runs_here(); }

const char *muattn_current_backend(void) {
    const int index = current_backend();
    return index != kNone ? backends[index].name : "";
}

muattn_status muattn_force_backend(const char *name) {
    if (name == nullptr) {
        forced = kAutomatic;
        return MUATTN_OK;
    }
    char known[256] = "";
    size_t length = 0;
    for (int i = 0; i < kBackends; i++) {
        if (strcmp(name, backends[i].name) == 0) {
            if (!backends[i].runs_here()) {
                return fail(MUATTN_INVALID_BACKEND, "backend: this machine cannot run '%s': %s", name,
                            why_not(backends[i]));
            }
            forced = i;
            return MUATTN_OK;
        }
        length += size_t(snprintf(known + length, sizeof known - length, "%s%s", i ? ", " : "", backends[i].name));
    }
    return fail(MUATTN_INVALID_BACKEND, "backend: unknown '%.64s'; this build has %s", name, known);
}

int muattn_kernel_count(void) { return kKernels; }

const char *muattn_kernel_name(int index) { return index >= 0 && index < kKernels ? kernels[index].name : nullptr; }

const char *muattn_last_kernel(void) { return last_kernel != nullptr ? last_kernel->name : ""; }
}
