// A device that a process has opened is not there in a child of fork(), which is told so and computes on the processor. Each test has a
// process of its own, for drivers are asked once.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "muattn/muattn.h"
#include "support/backends.h"

namespace muattn::test {
namespace {

// A merge of equal results, which it leaves as they are.
muattn_status merge() {
    float a[4] = {1, 2, 3, 4}, lse_a[1] = {0}, out[4] = {}, lse[1] = {};
    const auto tensor = [](float *data, int64_t columns) {
        return muattn_tensor{data, MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, columns}, {}, 0};
    };
    const muattn_tensor t = tensor(a, 4), l = tensor(lse_a, 1), o = tensor(out, 4), m = tensor(lse, 1);
    const muattn_status status = muattn_merge(&t, &l, &t, &l, &o, &m);
    return status != MUATTN_OK || out[3] == 4 ? status : MUATTN_INTERNAL_ERROR;
}

bool says_why(const char *backend) {
    const std::string message = muattn_last_error();
    return message.find("fork()") != std::string::npos &&
           (backend == nullptr || message.find(backend) != std::string::npos);
}

// The number of the first thing that is not as it should be, or 0.
int use_in_child(const char *backend, muattn_device device) {
    muattn_queue queue{};
    if (merge() != MUATTN_INVALID_BACKEND || !says_why(backend)) {
        return 1;
    }
    if (backend_is_available(backend) || muattn_force_backend(backend) != MUATTN_INVALID_BACKEND ||
        !says_why(backend)) {
        return 2;
    }
    if (muattn_get_queue(device, &queue) != MUATTN_INVALID_BACKEND || !says_why(nullptr)) {
        return 3;
    }
    muattn_release_memory();
    muattn_force_backend(nullptr);
    return merge() == MUATTN_OK ? 0 : 4;
}

int exit_code_of_child(int (*body)(const char *, muattn_device), const char *backend, muattn_device device) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(1000);
        _exit(body(backend, device));
    }
    int status = -1;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

void expect_lost_in_child(const char *backend, muattn_device device) {
    ASSERT_EQ(muattn_force_backend(backend), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(merge(), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(exit_code_of_child(use_in_child, backend, device), 0);
    EXPECT_EQ(merge(), MUATTN_OK) << muattn_last_error();
}

TEST(ForkedDevices, OpenCl) { expect_lost_in_child("opencl", MUATTN_OPENCL); }
TEST(ForkedDevices, Vulkan) { expect_lost_in_child("vulkan", MUATTN_VULKAN); }

// The parent has asked no driver.
TEST(ForkedDevices, AChildMayBeTheFirst) {
    ASSERT_EQ(muattn_force_backend(nullptr), MUATTN_OK);
    ASSERT_EQ(merge(), MUATTN_OK) << muattn_last_error();
    const auto use = [](const char *backend, muattn_device) {
        return muattn_force_backend(backend) == MUATTN_OK && merge() == MUATTN_OK ? 0 : 1;
    };
    EXPECT_EQ(exit_code_of_child(use, "opencl", MUATTN_OPENCL), 0);
}

}  // namespace
}  // namespace muattn::test
