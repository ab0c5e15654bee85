// A program with a Halide pipeline and a Halide runtime of its own, beside muattn's: neither touches the other's hooks.
#include <HalideBuffer.h>
#include <HalideRuntime.h>
#include <muattn/muattn.hpp>

#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "host_pipeline.h"

namespace {

std::atomic<int> errors{0}, allocations{0}, loops{0};

int hook_calls() { return errors + allocations + loops; }

void install_hooks() {
    halide_set_error_handler([](void *, const char *) { errors++; });
    halide_set_custom_malloc([](void *, size_t bytes) {
        allocations++;
        return aligned_alloc(128, (bytes + 127) / 128 * 128);
    });
    halide_set_custom_free([](void *, void *p) { free(p); });
    halide_set_custom_do_par_for([](void *user_context, halide_task_t task, int min, int size, uint8_t *closure) {
        loops++;
        return halide_default_do_par_for(user_context, task, min, size, closure);
    });
}

bool host_pipeline_works() {
    Halide::Runtime::Buffer<float> in(100), out(100), too_large(200);
    in.fill(3.0f);
    if (host_pipeline(in, out) != 0 || out(99) != 6.0f || errors != 0 || allocations == 0 || loops == 0) {
        return false;
    }
    return host_pipeline(in, too_large) != 0 && errors == 1;  // the host's handler gets the host's error
}

bool muattn_works() {
    const int64_t n = 300, d = 40;
    std::vector<float> zeros(n * d, 0.0f), v(n * d, 1.5f), out(n * d);
    auto tensor = [&](const std::vector<float> &x) { return muattn::tensor(x.data(), {1, 1, n, d}); };
    muattn::spatial_attention(tensor(zeros), tensor(zeros), tensor(v), tensor(out));
    bool right = std::fabs(out[0] - 1.5f) < 1e-5f && std::fabs(out[n * d - 1] - 1.5f) < 1e-5f;
    muattn::channel_attention(tensor(zeros), tensor(zeros), tensor(v), tensor(out));
    right = right && std::fabs(out[n * d - 1] - 1.5f) < 1e-5f;
    return right;
}

// No memory: the one failure that muattn meets beyond its checks of the arguments.
bool muattn_fails_alone() {
    const float x[4] = {};
    float out[4];
    auto tensor = [](const float *p) { return muattn::tensor(p, {1, 1, 2, 2}); };
    muattn_set_allocator([](void *, size_t, size_t) -> void * { return nullptr; }, [](void *, void *) {}, nullptr);
    muattn_status status = MUATTN_OK;
    try {
        muattn::spatial_attention(tensor(x), tensor(x), tensor(x), tensor(out));
    } catch (const muattn::Error &error) {
        status = error.status();
    }
    muattn_set_allocator(nullptr, nullptr, nullptr);
    return status == MUATTN_OUT_OF_MEMORY;
}

bool report(const char *what, bool holds) {
    printf("%s: %s\n", what, holds ? "yes" : "NO");
    return holds;
}

}  // namespace

int main() {
    install_hooks();
    bool right = report("the host's pipeline works, with the host's hooks", host_pipeline_works());
    const int before = hook_calls();
    right &= report("muattn works", muattn_works());
    right &= report("muattn reports its own errors", muattn_fails_alone());
    right &= report("the host's hooks saw nothing of muattn", hook_calls() == before);
    right &= report("the host's pipeline still works", (errors = 0, host_pipeline_works()));
    return right ? 0 : 1;
}
