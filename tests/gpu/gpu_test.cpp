// Both algorithms under their GPU schedules, on the first OpenCL device, against the double-precision reference.
#include <gtest/gtest.h>

#include <cmath>

#include "HalideBuffer.h"
#include "HalideRuntimeOpenCL.h"
#include "gpu_test_channel.h"
#include "gpu_test_spatial.h"
#include "support/reference.h"

namespace muattn::test {
namespace {

// The kernels see device memory: a copy of a tensor in it, and back.
class DeviceTensor {
public:
    explicit DeviceTensor(const Tensor &tensor)
        : tensor_(tensor), buffer_(int(tensor.size(3)), int(tensor.size(2)), int(tensor.size(1)), int(tensor.size(0))) {
        const std::vector<float> elements = tensor.elements();
        std::copy(elements.begin(), elements.end(), buffer_.begin());
        buffer_.set_host_dirty();
    }
    Halide::Runtime::Buffer<float, 4> &buffer() { return buffer_; }
    float at(int64_t b, int64_t h, int64_t i, int64_t e) const { return buffer_(int(e), int(i), int(h), int(b)); }

private:
    Tensor tensor_;
    Halide::Runtime::Buffer<float, 4> buffer_;
};

class OpenCL : public testing::Test {
protected:
    void SetUp() override {
        // Without a handler of ours the runtime would end the process.
        halide_set_error_handler([](void *, const char *message) { last_error() = message; });
        Halide::Runtime::Buffer<float, 1> probe(1);
        if (probe.device_malloc(halide_opencl_device_interface()) != 0) {
            GTEST_SKIP() << "no OpenCL device: " << last_error();
        }
    }
    static std::string &last_error() {
        static std::string message;
        return message;
    }
};

constexpr double kTolerance = 5e-6;

TEST_F(OpenCL, SpatialAttention) {
    constexpr int64_t d = 24;
    struct Shape {
        int64_t B, H, Hk, n_q, n_k;
        muattn_causal causal;
    };
    for (const Shape &s : {Shape{1, 1, 1, 1, 1, MUATTN_CAUSAL_NONE}, Shape{2, 4, 2, 33, 70, MUATTN_CAUSAL_NONE},
                           Shape{1, 2, 1, 40, 40, MUATTN_CAUSAL_TOP_LEFT}}) {
        const Tensor q({s.B, s.H, s.n_q, d}, dense()), k({s.B, s.Hk, s.n_k, d}, dense()),
            v({s.B, s.Hk, s.n_k, d}, dense());
        const Tensor out({s.B, s.H, s.n_q, d}, dense());
        q.fill_normal(1), k.fill_normal(2), v.fill_normal(3);
        SpatialRules rules;
        rules.scale.assign(size_t(s.H), 1 / std::sqrt(double(d)));
        rules.causal = s.causal;
        const std::vector<SpatialRow> rows = spatial_reference(q, k, v, rules);

        DeviceTensor device_q(q), device_k(k), device_v(v), device_out(out);
        Halide::Runtime::Buffer<float, 1> scale(int(s.H));
        Halide::Runtime::Buffer<int32_t, 1> lengths(int(s.B));
        scale.fill(float(rules.scale[0]));
        lengths.fill(int(s.n_k));
        scale.set_host_dirty();
        lengths.set_host_dirty();
        Halide::Runtime::Buffer<float, 4> no_bias(1, 1, 1, 1);
        Halide::Runtime::Buffer<uint8_t, 4> all_allowed(1, 1, 1, 1);
        const bool causal = s.causal == MUATTN_CAUSAL_TOP_LEFT;
        ASSERT_EQ(gpu_test_spatial(device_q.buffer(), device_k.buffer(), device_v.buffer(), scale, lengths,
                                   int32_t(s.H / s.Hk), -int32_t(s.n_q), causal ? 1 : int32_t(s.n_k), 0.0f, no_bias,
                                   all_allowed, device_out.buffer()),
                  0)
            << last_error();
        ASSERT_EQ(device_out.buffer().copy_to_host(), 0) << last_error();
        for (int64_t row = 0; row < int64_t(rows.size()); row++) {
            for (int64_t e = 0; e < d; e++) {
                const int64_t i = row % s.n_q, h = row / s.n_q % s.H, b = row / s.n_q / s.H;
                ASSERT_NEAR(device_out.at(b, h, i, e), rows[size_t(row)].out[size_t(e)], kTolerance)
                    << b << " " << h << " " << i << " " << e;
            }
        }
    }
}

TEST_F(OpenCL, ChannelAttention) {
    struct Shape {
        int64_t B, H, n, d;
    };
    for (const Shape &s : {Shape{1, 1, 1, 1}, Shape{2, 3, 97, 40}, Shape{1, 2, 300, 7}}) {
        const Tensor q({s.B, s.H, s.n, s.d}, dense()), k({s.B, s.H, s.n, s.d}, dense()),
            v({s.B, s.H, s.n, s.d}, dense());
        const Tensor out({s.B, s.H, s.n, s.d}, dense());
        q.fill_normal(1), k.fill_normal(2), v.fill_normal(3);
        const double multiplier = 1.5;
        const std::vector<double> scales(size_t(s.H), 1 / std::sqrt(double(s.n)));
        const std::vector<ChannelHead> heads = channel_reference(q, k, v, scales, multiplier);

        DeviceTensor device_q(q), device_k(k), device_v(v), device_out(out);
        Halide::Runtime::Buffer<float, 1> scale(int(s.H));
        scale.fill(float(scales[0]));
        scale.set_host_dirty();
        ASSERT_EQ(gpu_test_channel(device_q.buffer(), device_k.buffer(), device_v.buffer(), scale, float(multiplier),
                                   device_out.buffer()),
                  0)
            << last_error();
        ASSERT_EQ(device_out.buffer().copy_to_host(), 0) << last_error();
        for (int64_t b = 0; b < s.B; b++) {
            for (int64_t h = 0; h < s.H; h++) {
                for (int64_t t = 0; t < s.n; t++) {
                    for (int64_t i = 0; i < s.d; i++) {
                        ASSERT_NEAR(device_out.at(b, h, t, i), heads[size_t(b * s.H + h)].out[size_t(t * s.d + i)],
                                    kTolerance)
                            << b << " " << h << " " << t << " " << i;
                    }
                }
            }
        }
    }
}

}  // namespace
}  // namespace muattn::test
