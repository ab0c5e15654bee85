// Buffers of floats in the memory of devices: of a real OpenCL context and queue of the caller's, and of the library's Vulkan device.
#pragma once

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <gtest/gtest.h>
#include <vulkan/vulkan.h>

#include <algorithm>
#include <vector>

#include "muattn/muattn.h"

namespace muattn::test {

// And the library's name for the device.
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
    cl_context context() const { return context_; }
    cl_command_queue queue() const { return queue_; }
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

}  // namespace muattn::test
