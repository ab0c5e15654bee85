// Tensors that are in device memory already: buffers of a real OpenCL context and queue of the caller's, and of the library's Vulkan
// device.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <gtest/gtest.h>
#include <vulkan/vulkan.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

// A device's buffers of floats, and the library's name for the device.
class DeviceMemory {
public:
    virtual ~DeviceMemory() = default;
    virtual muattn_device device() const = 0;
    virtual void *make(const std::vector<float> &elements) = 0;
    virtual std::vector<float> read(void *buffer, size_t count) = 0;
};

class OpenClMemory : public DeviceMemory {
public:
    OpenClMemory() {
        cl_platform_id platform = nullptr;
        cl_device_id device = nullptr;
        cl_int error = clGetPlatformIDs(1, &platform, nullptr);
        EXPECT_EQ(error, CL_SUCCESS) << "no OpenCL platform";
        EXPECT_EQ(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, nullptr), CL_SUCCESS);
        context_ = clCreateContext(nullptr, 1, &device, nullptr, nullptr, &error);
        queue_ = clCreateCommandQueue(context_, device, 0, &error);
        EXPECT_EQ(error, CL_SUCCESS);
        const muattn_queue queue{context_, queue_, nullptr, nullptr, 0};
        EXPECT_EQ(muattn_set_queue(MUATTN_OPENCL, &queue), MUATTN_OK) << muattn_last_error();
        muattn_queue now{};
        EXPECT_EQ(muattn_get_queue(MUATTN_OPENCL, &now), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(now.queue, queue_);
    }
    ~OpenClMemory() override {
        muattn_set_queue(MUATTN_OPENCL, nullptr);
        for (cl_mem buffer : buffers_) {
            clReleaseMemObject(buffer);
        }
    }
    muattn_device device() const override { return MUATTN_OPENCL; }
    void *make(const std::vector<float> &elements) override {
        cl_int error = 0;
        cl_mem buffer = clCreateBuffer(context_, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                       elements.size() * sizeof(float), const_cast<float *>(elements.data()), &error);
        EXPECT_EQ(error, CL_SUCCESS);
        buffers_.push_back(buffer);
        return buffer;
    }
    std::vector<float> read(void *buffer, size_t count) override {
        std::vector<float> elements(count);
        // In order: what the call put into the queue is done before.
        EXPECT_EQ(clEnqueueReadBuffer(queue_, static_cast<cl_mem>(buffer), CL_TRUE, 0, count * sizeof(float),
                                      elements.data(), 0, nullptr, nullptr),
                  CL_SUCCESS);
        return elements;
    }

private:
    cl_context context_ = nullptr;
    cl_command_queue queue_ = nullptr;
    std::vector<cl_mem> buffers_;
};

// In memory that the host sees, which saves copies through staging buffers here.
class VulkanMemory : public DeviceMemory {
public:
    VulkanMemory() {
        muattn_queue queue{};
        EXPECT_EQ(muattn_get_queue(MUATTN_VULKAN, &queue), MUATTN_OK) << muattn_last_error();
        device_ = static_cast<VkDevice>(queue.context);
        queue_ = static_cast<VkQueue>(queue.queue);
        vkGetPhysicalDeviceMemoryProperties(static_cast<VkPhysicalDevice>(queue.vulkan_physical_device), &properties_);
    }
    ~VulkanMemory() override {
        for (Buffer *buffer : buffers_) {
            vkDestroyBuffer(device_, buffer->buffer, nullptr);
            vkFreeMemory(device_, buffer->memory, nullptr);
            delete buffer;
        }
    }
    muattn_device device() const override { return MUATTN_VULKAN; }
    void *make(const std::vector<float> &elements) override {
        auto *made = new Buffer{};
        VkBufferCreateInfo info{};
        info.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO;
        info.size = elements.size() * sizeof(float);
        info.usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT;
        EXPECT_EQ(vkCreateBuffer(device_, &info, nullptr, &made->buffer), VK_SUCCESS);
        VkMemoryRequirements needs{};
        vkGetBufferMemoryRequirements(device_, made->buffer, &needs);
        VkMemoryAllocateInfo allocate{};
        allocate.sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO;
        allocate.allocationSize = needs.size;
        constexpr VkFlags kVisible = VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
        while (!(needs.memoryTypeBits >> allocate.memoryTypeIndex & 1) ||
               (properties_.memoryTypes[allocate.memoryTypeIndex].propertyFlags & kVisible) != kVisible) {
            allocate.memoryTypeIndex++;
        }
        EXPECT_EQ(vkAllocateMemory(device_, &allocate, nullptr, &made->memory), VK_SUCCESS);
        EXPECT_EQ(vkBindBufferMemory(device_, made->buffer, made->memory, 0), VK_SUCCESS);
        void *mapped = nullptr;
        EXPECT_EQ(vkMapMemory(device_, made->memory, 0, VK_WHOLE_SIZE, 0, &mapped), VK_SUCCESS);
        made->elements = static_cast<float *>(mapped);
        std::copy(elements.begin(), elements.end(), made->elements);
        buffers_.push_back(made);
        return made->buffer;
    }
    std::vector<float> read(void *buffer, size_t count) override {
        EXPECT_EQ(vkQueueWaitIdle(queue_), VK_SUCCESS);
        for (const Buffer *made : buffers_) {
            if (made->buffer == buffer) {
                return {made->elements, made->elements + count};
            }
        }
        return {};
    }

private:
    struct Buffer {
        VkBuffer buffer;
        VkDeviceMemory memory;
        float *elements;
    };
    VkDevice device_ = nullptr;
    VkQueue queue_ = nullptr;
    VkPhysicalDeviceMemoryProperties properties_{};
    std::vector<Buffer *> buffers_;
};

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
    c.key_lengths = {41, 30};
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
