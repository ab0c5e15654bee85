// The caller's OpenCL queue: a call puts its work there, and does not wait for what is in it already.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "device_memory.h"
#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

// Holds the queue up until a call has returned, or the test has failed because it does not.
class Gate {
public:
    explicit Gate(const OpenClMemory &memory) {
        cl_int error = CL_SUCCESS;
        open_ = clCreateUserEvent(memory.context(), &error);
        EXPECT_EQ(error, CL_SUCCESS);
        EXPECT_EQ(clEnqueueBarrierWithWaitList(memory.queue(), 1, &open_, nullptr), CL_SUCCESS);
        opener_ = std::thread([this] {
            constexpr auto kLong = std::chrono::seconds(30);
            const auto start = std::chrono::steady_clock::now();
            while (!returned_ && std::chrono::steady_clock::now() - start < kLong) {
                std::this_thread::sleep_for(std::chrono::milliseconds(10));
            }
            was_waited_for_ = !returned_;
            clSetUserEventStatus(open_, CL_COMPLETE);
        });
    }
    Gate(const Gate &) = delete;
    Gate &operator=(const Gate &) = delete;
    ~Gate() { clReleaseEvent(open_); }

    bool was_waited_for() {
        returned_ = true;
        opener_.join();
        return was_waited_for_;
    }

private:
    cl_event open_ = nullptr;
    std::thread opener_;
    std::atomic<bool> returned_{false}, was_waited_for_{false};
};

TEST(OpenClQueue, IsNotWaitedFor) {
    ASSERT_TRUE(backend_is_available("opencl")) << "./dev test installs a device for it";
    OpenClMemory memory;
    for (const int64_t heads : {1, 4, 45}) {
        SpatialCase c;
        c.B = 3, c.H = heads, c.n_q = 5, c.n_k = 7, c.d = 8, c.d_v = 8;
        c.key_lengths = {7, 0, 3};
        for (int64_t h = 0; h < heads; h++) {
            c.scale.push_back(0.1f * float(h + 1));
        }
        const SpatialTensors t = make_tensors(c);
        ASSERT_EQ(run(c, t), MUATTN_OK);
        const std::vector<float> expected = t.out.elements();
        const auto on_device = [&](const Tensor &tensor) {
            muattn_tensor result = tensor.view();
            result.data = memory.make(tensor.elements());
            result.device = MUATTN_OPENCL;
            return result;
        };
        t.out.fill(0);
        const muattn_tensor q = on_device(t.q), k = on_device(t.k), v = on_device(t.v), out = on_device(t.out);
        Gate gate(memory);
        {
            // The host's numbers may go when the call has returned.
            SpatialCase copy = c;
            const muattn_spatial_options options = copy.options();
            EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, nullptr), MUATTN_OK)
                << muattn_last_error();
            std::fill(copy.scale.begin(), copy.scale.end(), 77.0f);
            std::fill(copy.key_lengths.begin(), copy.key_lengths.end(), 1);
        }
        ASSERT_FALSE(gate.was_waited_for());
        const std::vector<float> got = memory.read(out.data, expected.size());
        for (size_t i = 0; i < expected.size(); i++) {
            ASSERT_NEAR(got[i], expected[i], 1e-5f) << i;
        }
    }
}

}  // namespace
}  // namespace muattn::test
