// Attention on CUDA memory, in a stream of the program's, without copies.
//   c++ -std=c++17 cuda_tensors.cpp $(pkg-config --cflags --libs muattn) -lcudart
#include <cuda_runtime_api.h>
#include <muattn/muattn.hpp>

#include <cstdio>
#include <stdexcept>
#include <vector>

void check_cuda(cudaError_t error) {
    if (error != cudaSuccess) {
        throw std::runtime_error(cudaGetErrorString(error));
    }
}

muattn_tensor tensor(float *data, const muattn::Shape &shape) {
    muattn_tensor t = muattn::tensor(data, shape);
    t.device = MUATTN_CUDA;
    return t;
}

int main() {
    // The thread's device; its context is the one that calls run in. Without muattn_set_queue they go to the default stream.
    check_cuda(cudaSetDevice(0));
    cudaStream_t stream = nullptr;
    check_cuda(cudaStreamCreate(&stream));
    muattn_queue where{};
    where.queue = stream;
    muattn::check(muattn_set_queue(MUATTN_CUDA, &where));

    // The query is as far from each key, so that every row is the mean of the values.
    constexpr int64_t kHeads = 2, kKeys = 4, kWidth = 64, kSize = kHeads * kKeys * kWidth;
    std::vector<float> values(kSize), result(kSize);
    for (int64_t i = 0; i < kSize; i++) {
        values[size_t(i)] = float(i / kWidth);  // the row's number
    }
    constexpr size_t kBytes = kSize * sizeof(float);
    float *memory = nullptr;  // q and k, alike; v; out
    check_cuda(cudaMalloc(reinterpret_cast<void **>(&memory), 3 * kBytes));
    check_cuda(cudaMemsetAsync(memory, 0, kBytes, stream));
    check_cuda(cudaMemcpyAsync(memory + kSize, values.data(), kBytes, cudaMemcpyHostToDevice, stream));
    const muattn::Shape shape{1, kHeads, kKeys, kWidth};
    const muattn_tensor q = tensor(memory, shape), v = tensor(memory + kSize, shape),
                        out = tensor(memory + 2 * kSize, shape);
    muattn::spatial_attention(q, q, v, out);

    // The call has returned, its work is in the stream; what comes after it there sees the result.
    check_cuda(cudaMemcpyAsync(result.data(), out.data, kBytes, cudaMemcpyDeviceToHost, stream));
    check_cuda(cudaStreamSynchronize(stream));
    printf("%s\nhead 0: %.2f, head 1: %.2f\n", muattn_last_kernel(), result.front(), result.back());

    // What the library keeps for the next call in this stream goes before the stream does.
    muattn::check(muattn_set_queue(MUATTN_CUDA, nullptr));
    muattn_release_memory();
    check_cuda(cudaFree(memory));
    check_cuda(cudaStreamDestroy(stream));
}
