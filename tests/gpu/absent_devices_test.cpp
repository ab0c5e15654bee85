// Loaders without devices, and no driver at all: a status and a message, and the processor goes on. Each test has a process of its
// own, for drivers are asked once.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "faults/cuda_driver.h"
#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

void expect_absent(const char *backend, muattn_device device) {
    EXPECT_FALSE(backend_is_available(backend));
    EXPECT_EQ(muattn_force_backend(backend), MUATTN_INVALID_BACKEND);
    EXPECT_NE(std::string(muattn_last_error()).find(backend), std::string::npos) << muattn_last_error();
    muattn_queue queue{};
    EXPECT_EQ(muattn_get_queue(device, &queue), MUATTN_INVALID_BACKEND) << muattn_last_error();

    float memory[8] = {};
    const muattn_tensor t{memory, MUATTN_FLOAT32, device, {1, 1, 1, 2}, {}, 0},
        out{memory + 4, MUATTN_FLOAT32, device, {1, 1, 1, 2}, {}, 0};
    EXPECT_EQ(muattn_spatial_attention_forward(&t, &t, &t, nullptr, &out, nullptr), MUATTN_INVALID_BACKEND);
    EXPECT_NE(std::string(muattn_last_error()).find(backend), std::string::npos) << muattn_last_error();

    SpatialCase c;
    c.n_q = 5, c.n_k = 7, c.d = 3, c.d_v = 2;
    expect_agrees(c);
}

TEST(AbsentDevices, OpenClWithoutPlatforms) {
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    expect_absent("opencl", MUATTN_OPENCL);
}

TEST(AbsentDevices, VulkanLoaderWithoutDrivers) {
    setenv("VK_ICD_FILENAMES", "/nonexistent/driver.json", 1);
    setenv("VK_DRIVER_FILES", "/nonexistent/driver.json", 1);
    expect_absent("vulkan", MUATTN_VULKAN);
}

TEST(AbsentDevices, CudaWithoutDriver) {
    if (backend_is_available("cuda")) {
        GTEST_SKIP() << "this machine has a CUDA device";
    }
    expect_absent("cuda", MUATTN_CUDA);
}

// A driver has the name libcuda.so.1; libcuda.so, which Halide asks for, comes with development files.
TEST(AbsentDevices, CudaDriverWithoutDevices) {
    void *const library = dlopen(MUATTN_TEST_CUDA_DRIVER, RTLD_NOW | RTLD_LOCAL);  // found by its name from now on
    ASSERT_NE(library, nullptr) << dlerror();
    expect_absent("cuda", MUATTN_CUDA);
    const auto driver = reinterpret_cast<decltype(muattn_test_cuda) *>(dlsym(library, "muattn_test_cuda"));
    EXPECT_EQ(driver()->times_asked, 1);
}

TEST(AbsentDevices, QueuesOfTheProcessor) {
    muattn_queue queue{};
    EXPECT_EQ(muattn_get_queue(MUATTN_CPU, &queue), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_set_queue(MUATTN_CPU, &queue), MUATTN_INVALID_ARGUMENT);
    EXPECT_EQ(muattn_get_queue(MUATTN_OPENCL, nullptr), MUATTN_INVALID_ARGUMENT);
    queue.context = &queue;
    EXPECT_EQ(muattn_set_queue(MUATTN_OPENCL, &queue), MUATTN_INVALID_ARGUMENT) << "half a pair";
    EXPECT_EQ(muattn_set_queue(MUATTN_VULKAN, &queue), MUATTN_UNSUPPORTED);
}

}  // namespace
}  // namespace muattn::test
