// Which OpenCL device the library takes, of two of PoCL's, one of which a layer calls a GPU. Each test has a process of its own.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "muattn/muattn.h"
#include "support/backends.h"

namespace muattn::test {
namespace {

class OpenClChoice : public testing::Test {
protected:
    void SetUp() override {
        setenv("POCL_DEVICES", "basic pthread", 1);
        setenv("MUATTN_TEST_FAULT", "gpu", 1);
    }

    static cl_device_id device_of_type(cl_device_type type) {
        cl_platform_id platform = nullptr;
        cl_device_id device = nullptr;
        EXPECT_EQ(clGetPlatformIDs(1, &platform, nullptr), CL_SUCCESS);
        EXPECT_EQ(clGetDeviceIDs(platform, type, 1, &device, nullptr), CL_SUCCESS);
        return device;
    }
    static cl_device_id chosen() {
        muattn_queue queue{};
        EXPECT_EQ(muattn_get_queue(MUATTN_OPENCL, &queue), MUATTN_OK) << muattn_last_error();
        cl_device_id device = nullptr;
        EXPECT_EQ(clGetContextInfo(static_cast<cl_context>(queue.context), CL_CONTEXT_DEVICES, sizeof device, &device,
                                   nullptr),
                  CL_SUCCESS);
        return device;
    }
};

TEST_F(OpenClChoice, AGpuGoesFirst) {
    EXPECT_NE(device_of_type(CL_DEVICE_TYPE_GPU), device_of_type(CL_DEVICE_TYPE_ALL)) << "it is the first one anyway";
    EXPECT_EQ(chosen(), device_of_type(CL_DEVICE_TYPE_GPU));
}

TEST_F(OpenClChoice, OfAType) {
    setenv("HL_OCL_DEVICE_TYPE", "cpu", 1);
    EXPECT_EQ(chosen(), device_of_type(CL_DEVICE_TYPE_CPU));
}

TEST_F(OpenClChoice, ByNumber) {
    setenv("HL_GPU_DEVICE", "1", 1);
    EXPECT_EQ(chosen(), device_of_type(CL_DEVICE_TYPE_CPU));
}

TEST_F(OpenClChoice, OfAPlatform) {
    setenv("HL_OCL_PLATFORM_NAME", "Portable Computing", 1);
    EXPECT_EQ(chosen(), device_of_type(CL_DEVICE_TYPE_GPU));
}

TEST_F(OpenClChoice, WhatIsNotThereIsNotAvailable) {
    setenv("HL_OCL_PLATFORM_NAME", "of nobody", 1);
    EXPECT_EQ(muattn_force_backend("opencl"), MUATTN_INVALID_BACKEND);
    EXPECT_NE(std::string(muattn_last_error()).find("HL_OCL_PLATFORM_NAME"), std::string::npos) << muattn_last_error();
}

TEST_F(OpenClChoice, NorAPastNumber) {
    setenv("HL_GPU_DEVICE", "2", 1);
    EXPECT_FALSE(backend_is_available("opencl"));
}

}  // namespace
}  // namespace muattn::test
