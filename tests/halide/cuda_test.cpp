// How Halide's runtime looks for a CUDA driver. docs/halide-notes.md, 'GPU kernels'.
#include <gtest/gtest.h>

#include <cstring>

#include "devices.h"
#include "in_child.h"

namespace muattn::test {
namespace {

using namespace Halide;

bool asked_without_number = false, asked_with_number = false;

void *find_nothing(const char *name) {
    asked_without_number |= strcmp(name, "libcuda.so") == 0;
    asked_with_number |= strcmp(name, "libcuda.so.1") == 0;
    return nullptr;
}

TEST(CudaDriver, IsLookedForWithoutItsNumber) {
    const Outcome outcome = in_child([] {
        const Var x("x"), block("block"), thread("thread");
        Func out("out");
        out(x) = 1.0f;
        out.gpu_tile(x, block, thread, 4);
        JITHandlers handlers;
        handlers.custom_load_library = find_nothing;
        Internal::JITSharedRuntime::set_default_handlers(handlers);
        try {
            values_of(out, 4, get_host_target().with_feature(Target::CUDA));
        } catch (const Error &) {  // there is no driver
        }
        return std::vector<float>{float(asked_without_number), float(asked_with_number)};
    });
    EXPECT_EQ(outcome, (Outcome{{1, 0}, ""}))
        << "with its number too: halide_cuda_get_symbol() in runtime/src/gpu/drivers.cpp can go";
}

}  // namespace
}  // namespace muattn::test
