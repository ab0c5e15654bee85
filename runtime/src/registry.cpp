#include "registry.h"

#include <atomic>
#include <cstdio>
#include <cstring>

#include "error.h"
#include "processor.h"

#define MUATTN_KERNEL(operation, direction, dtype, kind, backend, symbol, ...) extern "C" int symbol##_argv(void **);
#include "kernel_table.inc"
#undef MUATTN_KERNEL

namespace muattn {
namespace {

// The dispatch names of the ladder, best first, and what each needs of the processor and the operating system.
struct Backend {
    const char *name;
    bool (*runs_here)();
};

const Backend backends[] = {
#define MUATTN_BACKEND(name, condition) {"cpu:" #name, [] { return bool(condition); }},
#include "backend_table.inc"
#undef MUATTN_BACKEND
};
constexpr int kBackends = sizeof backends / sizeof backends[0];

enum BackendIndex {
#define MUATTN_BACKEND(name, condition) backend_##name,
#include "backend_table.inc"
#undef MUATTN_BACKEND
};

constexpr muattn_dtype dtype_float32 = MUATTN_FLOAT32;

const Kernel kernels[] = {
#define MUATTN_KERNEL(operation, direction, dtype, kind, backend, symbol, ...) \
    {#operation "/" #direction "/" #dtype "/" #kind "/cpu:" #backend,          \
     Operation::operation,                                                     \
     Direction::direction,                                                     \
     dtype_##dtype,                                                            \
     Kind::kind,                                                               \
     backend_##backend,                                                        \
     schedule::machine(schedule::MachineName::backend),                        \
     {__VA_ARGS__},                                                            \
     symbol##_argv},
#include "kernel_table.inc"
#undef MUATTN_KERNEL
};
constexpr int kKernels = sizeof kernels / sizeof kernels[0];

constexpr int kAutomatic = -1;
std::atomic<int> forced{kAutomatic};
thread_local const Kernel *last_kernel = nullptr;

// kBackends if this machine runs none.
int best_backend() {
    static std::atomic<int> best{kAutomatic};
    if (best == kAutomatic) {
        int i = 0;
        while (i < kBackends && !backends[i].runs_here()) {
            i++;
        }
        best = i;
    }
    return best;
}

int current_backend() {
    const int index = forced;
    return index == kAutomatic ? best_backend() : index;
}

}  // namespace

const Kernel *find_kernel(Operation operation, Direction direction, muattn_dtype dtype, Kind kind,
                          bool negative_strides) {
    const int backend = current_backend();
    if (backend == kBackends) {
        fail(MUATTN_UNSUPPORTED, "this machine can run no backend of this build");
        return nullptr;
    }
    int wanted = backend;
    for (const Kernel &kernel : kernels) {  // of each kind in the order of the backends
        if (kernel.operation == operation && kernel.direction == direction && kernel.dtype == dtype &&
            kernel.kind == kind && kernel.backend == wanted) {
            if (!negative_strides || !kernel.machine.scalable) {
                return &kernel;
            }
            wanted++;
        }
    }
    fail(MUATTN_UNSUPPORTED, "this build has no kernel for this call on backend %s", backends[backend].name);
    return nullptr;
}

void remember_kernel(const Kernel &kernel) { last_kernel = &kernel; }

}  // namespace muattn

extern "C" {

using namespace muattn;

int muattn_backend_count(void) { return kBackends; }

const char *muattn_backend_name(int index) { return index >= 0 && index < kBackends ? backends[index].name : nullptr; }

int muattn_backend_available(int index) { return index >= 0 && index < kBackends && backends[index].runs_here(); }

const char *muattn_current_backend(void) {
    const int index = current_backend();
    return index < kBackends ? backends[index].name : "";
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
                return fail(MUATTN_INVALID_BACKEND, "backend: this machine cannot run '%s'", name);
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
