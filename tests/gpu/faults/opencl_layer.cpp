// A layer between the OpenCL loader and its driver, for OPENCL_LAYERS, that makes a device fail as MUATTN_TEST_FAULT says:
// "shared": it has 4 KiB of local memory; "allocation": it finds at a kernel's start that memory is out, as drivers do that allocate
// late; "gpu": the last device of a platform is a GPU, the others are processors.
#define CL_TARGET_OPENCL_VERSION 300
#include <CL/cl_layer.h>

#include <cstdlib>
#include <cstring>

namespace {

const cl_icd_dispatch *driver = nullptr;
cl_icd_dispatch layer{};

bool fault_is(const char *name) {
    const char *fault = getenv("MUATTN_TEST_FAULT");
    return fault != nullptr && strcmp(fault, name) == 0;
}

cl_int CL_API_CALL device_ids(cl_platform_id platform, cl_device_type type, cl_uint most, cl_device_id *devices,
                              cl_uint *count) {
    cl_device_id all[16];
    cl_uint all_count = 0;
    if (!fault_is("gpu") || type == CL_DEVICE_TYPE_ALL || (type & ~(CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_CPU)) != 0) {
        return driver->clGetDeviceIDs(platform, type, most, devices, count);
    }
    if (const cl_int error = driver->clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 16, all, &all_count)) {
        return error;
    }
    cl_uint found = 0;
    for (cl_uint i = 0; i < all_count; i++) {
        if (type & (i + 1 == all_count ? CL_DEVICE_TYPE_GPU : CL_DEVICE_TYPE_CPU)) {
            if (devices != nullptr && found < most) {
                devices[found] = all[i];
            }
            found++;
        }
    }
    if (count != nullptr) {
        *count = found;
    }
    return found > 0 ? CL_SUCCESS : CL_DEVICE_NOT_FOUND;
}

cl_int CL_API_CALL device_info(cl_device_id device, cl_device_info what, size_t size, void *value,
                               size_t *size_needed) {
    const cl_int error = driver->clGetDeviceInfo(device, what, size, value, size_needed);
    if (error == CL_SUCCESS && what == CL_DEVICE_LOCAL_MEM_SIZE && value != nullptr && fault_is("shared")) {
        const cl_ulong little = 4096;
        memcpy(value, &little, sizeof little);
    }
    return error;
}

cl_int CL_API_CALL run_kernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset,
                              const size_t *global, const size_t *local, cl_uint event_count, const cl_event *events,
                              cl_event *event) {
    if (fault_is("allocation")) {
        return CL_MEM_OBJECT_ALLOCATION_FAILURE;
    }
    return driver->clEnqueueNDRangeKernel(queue, kernel, dimensions, offset, global, local, event_count, events, event);
}

}  // namespace

cl_int clGetLayerInfo(cl_layer_info what, size_t size, void *value, size_t *size_needed) {
    const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    if (what != CL_LAYER_API_VERSION || (value != nullptr && size < sizeof version)) {
        return CL_INVALID_VALUE;
    }
    if (value != nullptr) {
        memcpy(value, &version, sizeof version);
    }
    if (size_needed != nullptr) {
        *size_needed = sizeof version;
    }
    return CL_SUCCESS;
}

cl_int clInitLayer(cl_uint count, const cl_icd_dispatch *target, cl_uint *layer_count,
                   const cl_icd_dispatch **dispatch) {
    if (count < sizeof layer / sizeof(void *)) {
        return CL_INVALID_VALUE;
    }
    driver = target;
    memcpy(&layer, target, sizeof layer);
    layer.clGetDeviceIDs = device_ids;
    layer.clGetDeviceInfo = device_info;
    layer.clEnqueueNDRangeKernel = run_kernel;
    *layer_count = sizeof layer / sizeof(void *);
    *dispatch = &layer;
    return CL_SUCCESS;
}
