// Tensors that are in device memory already: buffers of a real OpenCL context and queue of the caller's, and of the library's Vulkan
// device.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "device_memory.h"
#include "support/backends.h"
#include "support/cases.h"
#include "support/spatial_gradients.h"

namespace muattn::test {
namespace {

struct OnDevice {
    const char *name;
    std::function<std::unique_ptr<DeviceMemory>()> memory;
};

class DeviceTensors : public testing::TestWithParam<OnDevice> {
protected:
    void SetUp() override {
        ASSERT_TRUE(backend_is_available(GetParam().name)) << "./dev test installs a device for it";
        memory = GetParam().memory();
    }

    // The tensor in device memory, `before` elements into a buffer.
    muattn_tensor on_device(const Tensor &tensor, int64_t before = 0) {
        std::vector<float> elements(size_t(before), 77.0f);
        const std::vector<float> own = tensor.elements();
        elements.insert(elements.end(), own.begin(), own.end());
        muattn_tensor t = tensor.view();
        t.data = memory->make(elements);
        t.device = memory->device();
        t.offset = before;
        return t;
    }

    std::unique_ptr<DeviceMemory> memory;
};
INSTANTIATE_TEST_SUITE_P(Apis, DeviceTensors,
                         testing::Values(OnDevice{"opencl", [] { return std::make_unique<OpenClMemory>(); }},
                                         OnDevice{"vulkan", [] { return std::make_unique<VulkanMemory>(); }}),
                         [](const testing::TestParamInfo<OnDevice> &param) { return std::string(param.param.name); });

// Which the processor's kernels give as well, in float.
constexpr float kTolerance = 1e-5f;

TEST_P(DeviceTensors, SpatialAttention) {
    SpatialCase c;
    c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 37, c.n_k = 41, c.d = 20, c.d_v = 24;
    c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    c.key_lengths = {41, 38};
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK);
    const std::vector<float> expected = t.out.elements(), expected_lse = t.lse.elements();
    const muattn_spatial_options options = c.options();
    for (const int64_t before : {0, 64}) {
        t.out.fill(0);
        const muattn_tensor q = on_device(t.q, before), k = on_device(t.k, 2 * before), v = on_device(t.v),
                            out = on_device(t.out, before), lse = on_device(t.lse, before);
        ASSERT_EQ(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, &lse), MUATTN_OK) << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_kernel()).find(GetParam().name), std::string::npos) << muattn_last_kernel();
        const std::vector<float> got = memory->read(out.data, size_t(before) + expected.size()),
                                 got_lse = memory->read(lse.data, size_t(before) + expected_lse.size());
        for (size_t i = 0; i < expected.size(); i++) {
            ASSERT_NEAR(got[size_t(before) + i], expected[i], kTolerance) << i;
        }
        for (size_t i = 0; i < expected_lse.size(); i++) {
            ASSERT_NEAR(got_lse[size_t(before) + i], expected_lse[i], kTolerance) << i;
        }
        for (int64_t i = 0; i < before; i++) {
            ASSERT_EQ(got[size_t(i)], 77.0f) << "writes before the tensor";
        }
    }
}

// For which GPUs have no kernels: nothing of the tensors is read or written here.
TEST_P(DeviceTensors, GradientsAreRefused) {
    SpatialBackwardCase c;
    c.B = 2, c.n_q = 7, c.n_k = 9, c.d = 4, c.d_v = 5;
    c.causal = MUATTN_CAUSAL_TOP_LEFT;
    const SpatialGradientTensors t = make_gradient_tensors(c);
    const muattn_tensor q = on_device(t.inputs.q), k = on_device(t.inputs.k), v = on_device(t.inputs.v),
                        out = on_device(t.inputs.out), lse = on_device(t.inputs.lse), d_out = on_device(t.d_out),
                        d_q = on_device(t.d_q);
    const muattn_spatial_options options = c.options();
    muattn_spatial_gradients gradients{};
    gradients.d_q = &d_q;
    EXPECT_EQ(muattn_spatial_attention_backward(&q, &k, &v, &out, &lse, &d_out, nullptr, &options, &gradients),
              MUATTN_UNSUPPORTED)
        << muattn_last_error();
    EXPECT_NE(std::string(muattn_last_error()).find("no kernel"), std::string::npos) << muattn_last_error();
}

TEST_P(DeviceTensors, ChannelAttention) {
    ChannelCase c;
    c.B = 2, c.H = 3, c.n = 70, c.d = 36;
    const ChannelTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK);
    const std::vector<float> expected = t.out.elements();
    t.out.fill(0);
    const muattn_tensor q = on_device(t.q), k = on_device(t.k), v = on_device(t.v), out = on_device(t.out);
    const muattn_channel_options options = c.options();
    ASSERT_EQ(muattn_channel_attention_forward(&q, &k, &v, &options, &out), MUATTN_OK) << muattn_last_error();
    const std::vector<float> got = memory->read(out.data, expected.size());
    for (size_t i = 0; i < expected.size(); i++) {
        ASSERT_NEAR(got[i], expected[i], kTolerance) << i;
    }
}

TEST_P(DeviceTensors, InTwoPlacesAreRefused) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 4, c.d = 5, c.d_v = 5;
    const SpatialTensors t = make_tensors(c);
    const muattn_tensor q = on_device(t.q), k = t.k.view(), v = on_device(t.v), out = on_device(t.out);
    EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &v, nullptr, &out, nullptr), MUATTN_INVALID_K);
    EXPECT_NE(std::string(muattn_last_error()).find("k.device"), std::string::npos) << muattn_last_error();
}

TEST_P(DeviceTensors, ForcedProcessorIsRefused) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 4, c.d = 5, c.d_v = 5;
    const SpatialTensors t = make_tensors(c);
    const muattn_tensor q = on_device(t.q), k = on_device(t.k), v = on_device(t.v), out = on_device(t.out);
    ASSERT_EQ(muattn_force_backend(muattn_current_backend()), MUATTN_OK);
    EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &v, nullptr, &out, nullptr), MUATTN_INVALID_BACKEND);
    EXPECT_NE(std::string(muattn_last_error()).find("forced"), std::string::npos) << muattn_last_error();
    muattn_force_backend(nullptr);
}

}  // namespace
}  // namespace muattn::test
