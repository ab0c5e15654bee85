// Attention on OpenCL buffers, in the program's own queue, without copies.
//   c++ -std=c++17 opencl_tensors.cpp $(pkg-config --cflags --libs muattn) -lOpenCL
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <muattn/muattn.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <vector>

void check_cl(cl_int error) {
    if (error != CL_SUCCESS) {
        throw std::runtime_error("OpenCL error " + std::to_string(error));
    }
}

cl_mem new_buffer(cl_context context, const std::vector<float> &elements) {
    cl_int error = CL_SUCCESS;
    const cl_mem buffer = clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
                                         elements.size() * sizeof(float), const_cast<float *>(elements.data()), &error);
    check_cl(error);
    return buffer;
}

// A dense tensor in a buffer, from an element on: here the tensors of a packed buffer.
muattn_tensor tensor(cl_mem buffer, const muattn::Shape &shape, int64_t offset = 0) {
    muattn_tensor t = muattn::tensor(nullptr, shape);
    t.data = buffer;
    t.device = MUATTN_OPENCL;
    t.offset = offset;
    return t;
}

int main() {
    // The program's own context and queue. Another way: muattn_get_queue() gives the library's.
    cl_platform_id platform = nullptr;
    cl_device_id device = nullptr;
    cl_int error = CL_SUCCESS;
    // The first platform's first device, which may be a processor (PoCL): a real program asks every platform for
    // CL_DEVICE_TYPE_GPU.
    check_cl(clGetPlatformIDs(1, &platform, nullptr));
    check_cl(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, nullptr));
    const cl_context context = clCreateContext(nullptr, 1, &device, nullptr, nullptr, &error);
    check_cl(error);
    const cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
    check_cl(error);
    muattn_queue where{};
    where.context = context;
    where.queue = queue;
    muattn::check(muattn_set_queue(MUATTN_OPENCL, &where));

    // The query is as far from each key, so that every row is the mean of the values.
    constexpr int64_t kHeads = 2, kKeys = 4, kWidth = 64, kSize = kHeads * kKeys * kWidth;
    std::vector<float> packed(2 * kSize, 1.0f), result(kSize);  // keys, then values
    for (int64_t i = 0; i < kSize; i++) {
        packed[size_t(kSize + i)] = float(i / kWidth);  // the row's number
    }
    const cl_mem kv = new_buffer(context, packed), q = new_buffer(context, result), out = new_buffer(context, result);
    const muattn::Shape shape{1, kHeads, kKeys, kWidth};
    muattn::spatial_attention(tensor(q, shape), tensor(kv, shape), tensor(kv, shape, kSize), tensor(out, shape));

    // The call has returned, its work is in the queue; what comes after it there sees the result.
    check_cl(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, kSize * sizeof(float), result.data(), 0, nullptr, nullptr));
    printf("%s\nhead 0: %.2f, head 1: %.2f\n", muattn_last_kernel(), result.front(), result.back());

    // What the library keeps for the next call in this queue goes before the queue does.
    muattn::check(muattn_set_queue(MUATTN_OPENCL, nullptr));
    muattn_release_memory();
    for (const cl_mem buffer : {q, kv, out}) {
        clReleaseMemObject(buffer);
    }
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
}
