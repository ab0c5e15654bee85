// The fixture of every test that runs a kernel: once per backend that this machine runs, forced.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace muattn::test {

std::vector<std::string> backend_names();
// Whether MUATTN_TEST_BACKENDS names it, among others, separated by commas; without it, the processor's own are wanted. A GPU's driver is
// not even loaded unless it is named.
bool is_wanted(const std::string &name);
// Those that are wanted and run here.
std::vector<std::string> available_backends();
bool backend_is_available(const std::string &name);
// Devices on the processor compile a kernel for seconds: MUATTN_TEST_GPU_HEAD_DIMS=16,32 leaves calls out that would take another one
// than the kernels of these head dimensions. Without it all are run.
bool gpu_head_dim_is_wanted(int64_t head_dim);
bool is_gpu(const std::string &backend);

// All settings of the process as they are at the start: best backend, default threads and memory, scratch poisoned if the
// environment has MUATTN_TEST_POISON.
void restore_settings();

// For tests of settings that do not depend on the backend.
class WithSettings : public testing::Test {
protected:
    void TearDown() override { restore_settings(); }
};

// GetParam() is the backend's name.
class OnEveryBackend : public testing::TestWithParam<std::string> {
protected:
    void SetUp() override;
    void TearDown() override { restore_settings(); }
};

// Of what GPUs refuse.
class OnEveryProcessor : public OnEveryBackend {
protected:
    void SetUp() override;
};

// "cpu:avx2" as a test's name: cpu_avx2.
std::string test_name(const testing::TestParamInfo<std::string> &info);

// Instantiates a suite of OnEveryBackend. What this machine cannot run is one skipped test, BackendsOfThisBuild.
#define MUATTN_ON_EVERY_BACKEND(suite)                                                               \
    INSTANTIATE_TEST_SUITE_P(Backends, suite, testing::ValuesIn(muattn::test::available_backends()), \
                             muattn::test::test_name)

}  // namespace muattn::test
