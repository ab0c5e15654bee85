// Calls on the threads of a real OpenMP runtime, GNU's, that the process has loaded.
#include <cstring>

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

constexpr char kRuntime[] = "libgomp.so.1";

class OpenMP : public WithSettings {
protected:
    void SetUp() override {
        runtime_ = dlopen(kRuntime, RTLD_NOW | RTLD_LOCAL);
        if (runtime_ == nullptr) {
            GTEST_SKIP() << dlerror();
        }
        c_.H = 8, c_.n_q = c_.n_k = 64, c_.d = c_.d_v = 16;
        tensors_ = make_tensors(c_);
    }
    void TearDown() override {
        muattn_set_parallel_for(nullptr, nullptr);
        WithSettings::TearDown();
    }

    void set_threads(int n) const { reinterpret_cast<void (*)(int)>(dlsym(runtime_, "omp_set_num_threads"))(n); }
    std::vector<float> out() const {
        tensors_.out.fill(untouched());
        EXPECT_EQ(run(c_, tensors_), MUATTN_OK) << muattn_last_error();
        return tensors_.out.elements();
    }
    bool computes(const std::vector<float> &expected) const {
        const std::vector<float> found = out();
        return memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0;
    }

    void *runtime_ = nullptr;
    SpatialCase c_;
    SpatialTensors tensors_;
};

TEST_F(OpenMP, SameBitsAsOnTheLibrarysThreads) {
    const std::vector<float> expected = out();
    ASSERT_EQ(muattn_use_openmp(kRuntime), MUATTN_OK) << muattn_last_error();
    for (const int threads : {1, 2, 5}) {
        set_threads(threads);
        EXPECT_TRUE(computes(expected)) << threads << " threads";
    }
    ASSERT_EQ(muattn_use_openmp(nullptr), MUATTN_OK) << muattn_last_error();
    EXPECT_TRUE(computes(expected));
}

TEST_F(OpenMP, AsManyThreadsAsItSaysAndTheLibraryWasTold) {
    ASSERT_EQ(muattn_set_num_threads(5), MUATTN_OK);
    ASSERT_EQ(muattn_use_openmp(kRuntime), MUATTN_OK) << muattn_last_error();
    set_threads(7);
    EXPECT_EQ(muattn_get_num_threads(), 5);
    ASSERT_EQ(muattn_set_num_threads(3), MUATTN_OK);
    EXPECT_EQ(muattn_get_num_threads(), 3);
    set_threads(2);
    EXPECT_EQ(muattn_get_num_threads(), 2);
    muattn_set_parallel_for(nullptr, nullptr);
    EXPECT_EQ(muattn_get_num_threads(), 3);
}

TEST_F(OpenMP, AChildOfForkHasTheLibrarysThreads) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's allocator may hang in a child";
#endif
    ASSERT_EQ(muattn_use_openmp(kRuntime), MUATTN_OK) << muattn_last_error();
    ASSERT_EQ(muattn_set_num_threads(3), MUATTN_OK);
    set_threads(3);
    const std::vector<float> expected = out();  // OpenMP's threads are there
    const pid_t child = fork();
    if (child == 0) {
        alarm(1000);
        _exit(muattn_use_openmp(kRuntime) == MUATTN_OK && muattn_get_num_threads() == 3 && computes(expected) ? 0 : 1);
    }
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_EQ(status, 0);
}

TEST_F(OpenMP, WhatIsNotLoadedIsRefused) {
    ASSERT_EQ(muattn_use_openmp(kRuntime), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(muattn_use_openmp("libm.so.6"), MUATTN_UNSUPPORTED);
    EXPECT_EQ(muattn_use_openmp("libnone.so"), MUATTN_UNSUPPORTED);
    EXPECT_STREQ(muattn_last_error(), "library: 'libnone.so' is not loaded, or needs no OpenMP runtime");
    set_threads(2);
    EXPECT_EQ(muattn_get_num_threads(), 2);  // as before
    out();
}

}  // namespace
}  // namespace muattn::test
