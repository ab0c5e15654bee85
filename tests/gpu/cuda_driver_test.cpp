// What the library asks of a CUDA driver: one that runs no kernel, with devices that tests set. Each test has a process of its own, for
// drivers are asked once.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "faults/cuda_driver.h"
#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

class CudaDriverTest : public testing::Test {
protected:
    static constexpr int64_t kHeads = 4, kRows = 3, kWidth = 8;

    void SetUp() override {
        library_ = dlopen(MUATTN_TEST_CUDA_DRIVER, RTLD_NOW | RTLD_LOCAL);  // found by its name from now on
        ASSERT_NE(library_, nullptr) << dlerror();
        driver_ = function<CudaDriver *()>("muattn_test_cuda")();
    }

    template<typename Function>
    Function *function(const char *name) const {
        return reinterpret_cast<Function *>(dlsym(library_, name));
    }

    void *primary_context(int device) const {
        void *context = nullptr;
        function<decltype(cuDevicePrimaryCtxRetain)>("cuDevicePrimaryCtxRetain")(&context, device);
        return context;
    }
    void push(void *context) const { function<decltype(cuCtxPushCurrent_v2)>("cuCtxPushCurrent_v2")(context); }
    void pop() const {
        void *context = nullptr;
        function<decltype(cuCtxPopCurrent_v2)>("cuCtxPopCurrent_v2")(&context);
    }
    void *current_context() const {
        void *context = nullptr;
        function<decltype(cuCtxGetCurrent)>("cuCtxGetCurrent")(&context);
        return context;
    }

    // In the primary context of a device.
    muattn_tensor on_device(int device) const {
        push(primary_context(device));
        uint64_t address = 0;
        function<decltype(cuMemAlloc_v2)>("cuMemAlloc_v2")(&address, kHeads * kRows * kWidth * sizeof(float));
        pop();
        return at(reinterpret_cast<void *>(address));
    }
    static muattn_tensor at(void *data) {
        return {data, MUATTN_FLOAT32, MUATTN_CUDA, {1, kHeads, kRows, kWidth}, {}, 0};
    }
    static muattn_status attend(const muattn_tensor &t, const muattn_tensor &out,
                                const muattn_spatial_options *options = nullptr) {
        return muattn_spatial_attention_forward(&t, &t, &t, options, &out, nullptr);
    }
    static std::string error() { return muattn_last_error(); }

    CudaDriver *driver_ = nullptr;

private:
    void *library_ = nullptr;
};

TEST_F(CudaDriverTest, OlderDevicesAreNotAvailable) {
    driver_->capabilities = {61, 52};
    EXPECT_FALSE(backend_is_available("cuda"));
    EXPECT_EQ(muattn_force_backend("cuda"), MUATTN_INVALID_BACKEND);
    EXPECT_NE(error().find("compute capability"), std::string::npos) << error();
    EXPECT_NE(error().find("7.0"), std::string::npos) << error();
    float memory[2][kHeads * kRows * kWidth];
    EXPECT_EQ(attend(at(memory[0]), at(memory[1])), MUATTN_INVALID_BACKEND);
    EXPECT_NE(error().find("compute capability"), std::string::npos) << error();
}

TEST_F(CudaDriverTest, AnOlderOneBesideANewerIsRefused) {
    driver_->capabilities = {61, 70};
    EXPECT_TRUE(backend_is_available("cuda"));
    EXPECT_EQ(attend(on_device(0), on_device(0)), MUATTN_UNSUPPORTED);
    EXPECT_NE(error().find("6.1"), std::string::npos) << error();
    EXPECT_EQ(driver_->launches, 0);
    EXPECT_EQ(attend(on_device(1), on_device(1)), MUATTN_OK) << error();
    EXPECT_EQ(driver_->launches, 1);
}

TEST_F(CudaDriverTest, AThreadWithoutAContextTakesThatOfTheTensors) {
    driver_->capabilities = {80, 80};
    for (const bool of_context : {true, false}) {
        driver_->memory_has_contexts = of_context;
        for (const int device : {1, 0}) {
            EXPECT_EQ(attend(on_device(device), on_device(device)), MUATTN_OK) << error();
            EXPECT_EQ(driver_->launched_in, primary_context(device));
            EXPECT_EQ(current_context(), nullptr);
            muattn_release_memory();
            EXPECT_EQ(driver_->freed_in, primary_context(device));
        }
    }
    EXPECT_EQ(driver_->contexts_made, 0);
}

TEST_F(CudaDriverTest, MemoryIsGivenBackWhereItIsFrom) {
    driver_->capabilities = {80, 80};
    EXPECT_EQ(attend(on_device(1), on_device(1)), MUATTN_OK) << error();
    push(primary_context(0));
    const int before = driver_->frees;
    muattn_release_memory();
    EXPECT_EQ(driver_->frees, before + 5) << "scale, length, a sink and two masks that there are not";
    EXPECT_EQ(driver_->freed_in, primary_context(1));
    pop();
}

TEST_F(CudaDriverTest, TheCurrentContextGoesFirst) {
    driver_->capabilities = {80, 80};
    push(primary_context(1));
    EXPECT_EQ(attend(on_device(0), on_device(0)), MUATTN_OK) << error();
    EXPECT_EQ(driver_->launched_in, primary_context(1));
    EXPECT_EQ(current_context(), primary_context(1));
    pop();
}

TEST_F(CudaDriverTest, PointersThatItDoesNotKnowAreRefused) {
    driver_->capabilities = {80};
    float memory[2][kHeads * kRows * kWidth];
    EXPECT_EQ(attend(at(memory[0]), at(memory[1])), MUATTN_INVALID_Q);
    EXPECT_NE(error().find("q.data"), std::string::npos) << error();
    EXPECT_EQ(driver_->launches + driver_->contexts_made, 0);
}

TEST_F(CudaDriverTest, FewBytesOfTheHostAreNotWaitedFor) {
    driver_->capabilities = {80};
    const float scale[kHeads] = {0.5f, 0.25f, 0.25f, 2};
    const int64_t length = 2;
    muattn_spatial_options options{};
    options.scale = scale;
    options.scale_count = kHeads;
    options.key_lengths = &length;
    EXPECT_EQ(attend(on_device(0), on_device(0), &options), MUATTN_OK) << error();
    EXPECT_EQ(driver_->launches, 1);
    EXPECT_EQ(driver_->copies + driver_->waits, 0);
    // Scales, of which two are alike, the masks that there are not, what queries see, its length last, and the sink that there is not.
    const std::vector<CudaDriver::Fill> &fills = driver_->fills;
    ASSERT_EQ(fills.size(), 9u);
    const size_t first[] = {0, 1, 3}, count[] = {1, 2, 1};
    for (size_t i = 0; i < 3; i++) {
        EXPECT_EQ(fills[i].address, fills[0].address + first[i] * sizeof(float));
        EXPECT_EQ(fills[i].count, count[i]);
        EXPECT_EQ(memcmp(&fills[i].word, &scale[first[i]], sizeof(float)), 0);
    }
    EXPECT_EQ(fills[7].word, 2u);
}

TEST_F(CudaDriverTest, ManyNumbersAreCopied) {
    driver_->capabilities = {80};
    constexpr int64_t kBatch = 40;
    int64_t lengths[kBatch];
    for (int64_t b = 0; b < kBatch; b++) {
        lengths[b] = b % 3;
    }
    muattn_tensor t = on_device(0), out = on_device(0);
    for (muattn_tensor *tensor : {&t, &out}) {
        *tensor = {tensor->data, MUATTN_FLOAT32, MUATTN_CUDA, {kBatch, 1, 2, 1}, {}, 0};
    }
    muattn_spatial_options options{};
    options.key_lengths = lengths;
    EXPECT_EQ(attend(t, out, &options), MUATTN_OK) << error();
    EXPECT_EQ(driver_->copies, 1);
    EXPECT_EQ(driver_->launches, 1);
}

}  // namespace
}  // namespace muattn::test
