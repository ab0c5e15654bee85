// Tensors as large as they may be: kernels index with 32 bits, so 2^31 elements, repeated ones and gaps included, are too
// many for any tensor.
#include <sys/mman.h>

#include <cmath>
#include <functional>
#include <limits>

#include "support/backends.h"
#include "support/cases.h"
#include "support/sixteen_bits.h"

namespace muattn::test {
namespace {

constexpr int64_t kLimit = int64_t(1) << 31;

// 8 GiB of addresses, of which only the pages that are used take memory.
class FarMemory {
public:
    FarMemory() {
        void *p = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        begin_ = p == MAP_FAILED ? nullptr : static_cast<float *>(p);
    }
    ~FarMemory() {
        if (begin_ != nullptr) {
            munmap(begin_, kBytes);
        }
    }
    FarMemory(const FarMemory &) = delete;
    FarMemory &operator=(const FarMemory &) = delete;

    float *begin() const { return begin_; }

private:
    static constexpr size_t kBytes = size_t(kLimit) * sizeof(float);
    float *begin_;
};

class Limits : public OnEveryBackend {
protected:
    // The dense tensor's elements at begin, with this stride from one batch entry to the next.
    static muattn_tensor spread(const Tensor &dense, float *begin, int64_t stride) {
        const Shape &shape = dense.shape();
        muattn_tensor t = dense.view();
        t.data = stride >= 0 ? begin : begin - (shape[0] - 1) * stride;
        const int64_t strides[] = {stride, shape[2] * shape[3], shape[3], 1};
        for (int i = 0; i < 4; i++) {
            t.strides[i] = strides[i];
        }
        for (int64_t b = 0; b < shape[0]; b++) {
            std::copy_n(dense.row(b, 0, 0), shape[1] * shape[2] * shape[3], static_cast<float *>(t.data) + b * stride);
        }
        return t;
    }
};
MUATTN_ON_EVERY_BACKEND(Limits);

// n_q n_k is too many for a tensor, but the mask has an element for each query alone.
TEST_P(Limits, MaskOfQueries) {
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "takes long where a GPU is emulated";
    }
    SpatialCase c;
    c.n_q = c.n_k = 46400, c.d = c.d_v = 1;
    c.causal = MUATTN_CAUSAL_TOP_LEFT;
    c.window = {1, 1, -1};
    c.mask = SpatialCase::additive;
    c.mask_full = {false, false, true, false};
    const SpatialTensors t = make_tensors(c);
    EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    for (const int64_t i :
         {int64_t(1), c.n_q / 2, c.n_q - 1}) {  // each sees two keys, and adds one number to both of their logits
        const double scale = 1, q = double(t.q.at(0, 0, i, 0)), lower = scale * q * double(t.k.at(0, 0, i - 1, 0)),
                     upper = scale * q * double(t.k.at(0, 0, i, 0)), weight = 1 / (1 + std::exp(lower - upper));
        const double value = (1 - weight) * double(t.v.at(0, 0, i - 1, 0)) + weight * double(t.v.at(0, 0, i, 0));
        const bool hidden = std::isinf(t.mask.at(0, 0, i, 0));
        EXPECT_NEAR(double(t.out.at(0, 0, i, 0)), hidden ? 0 : value, 1e-5) << "query " << i;
    }
}

TEST_P(Limits, SpatialStrides) {
    const FarMemory memory;
    if (memory.begin() == nullptr) {
        GTEST_SKIP() << "8 GiB of addresses are not to be had";
    }
    SpatialCase c;
    c.B = 2, c.H = c.Hk = 2, c.n_q = c.n_k = 3, c.d = c.d_v = 4;
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    const std::vector<float> expected = t.out.elements(), expected_lse = t.lse.elements();
    const muattn_tensor views[] = {t.q.view(), t.k.view(), t.v.view(), t.out.view(), t.lse.view()};
    const Tensor *const tensors[] = {&t.q, &t.k, &t.v, &t.out, &t.lse};
    const int64_t far = kLimit / 2 - 1;  // times two batch entries: just below the limit
    for (int which = 0; which < 5; which++) {
        for (const int64_t stride : {far, -far}) {
            SCOPED_TRACE(testing::Message() << "stride " << stride << " of tensor " << which);
            muattn_tensor far_away[5];
            std::copy_n(views, 5, far_away);
            far_away[which] = spread(*tensors[which], memory.begin(), stride);
            ASSERT_EQ(muattn_spatial_attention_forward(&far_away[0], &far_away[1], &far_away[2], nullptr, &far_away[3],
                                                       &far_away[4]),
                      MUATTN_OK)
                << muattn_last_error();
            const float *out = static_cast<const float *>(far_away[3].data);
            const float *lse = static_cast<const float *>(far_away[4].data);
            const int64_t out_stride = which == 3 ? stride : 24, lse_stride = which == 4 ? stride : 6;
            for (int64_t b = 0; b < 2; b++) {
                EXPECT_TRUE(std::equal(out + b * out_stride, out + b * out_stride + 24, expected.begin() + b * 24));
                EXPECT_TRUE(std::equal(lse + b * lse_stride, lse + b * lse_stride + 6, expected_lse.begin() + b * 6));
            }
            // One element further is refused, as the argument that it is.
            far_away[which].strides[0] += stride > 0 ? 1 : -1;
            constexpr muattn_status kStatus[] = {MUATTN_INVALID_Q, MUATTN_INVALID_K, MUATTN_INVALID_V,
                                                 MUATTN_INVALID_OUT, MUATTN_INVALID_LSE};
            EXPECT_EQ(muattn_spatial_attention_forward(&far_away[0], &far_away[1], &far_away[2], nullptr, &far_away[3],
                                                       &far_away[4]),
                      kStatus[which]);
        }
    }
}

TEST_P(Limits, ChannelStrides) {
    const FarMemory memory;
    if (memory.begin() == nullptr) {
        GTEST_SKIP() << "8 GiB of addresses are not to be had";
    }
    ChannelCase c;
    c.B = 2, c.H = 2, c.n = 3, c.d = 4;
    const ChannelTensors t = make_tensors(c);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    const std::vector<float> expected = t.out.elements();
    const muattn_tensor views[] = {t.q.view(), t.k.view(), t.v.view(), t.out.view()};
    const Tensor *const tensors[] = {&t.q, &t.k, &t.v, &t.out};
    const int64_t far = kLimit / 2 - 1;
    for (int which = 0; which < 4; which++) {
        for (const int64_t stride : {far, -far}) {
            SCOPED_TRACE(testing::Message() << "stride " << stride << " of tensor " << which);
            muattn_tensor far_away[4];
            std::copy_n(views, 4, far_away);
            far_away[which] = spread(*tensors[which], memory.begin(), stride);
            ASSERT_EQ(muattn_channel_attention_forward(&far_away[0], &far_away[1], &far_away[2], nullptr, &far_away[3]),
                      MUATTN_OK)
                << muattn_last_error();
            const float *out = static_cast<const float *>(far_away[3].data);
            const int64_t out_stride = which == 3 ? stride : 24;
            for (int64_t b = 0; b < 2; b++) {
                EXPECT_TRUE(std::equal(out + b * out_stride, out + b * out_stride + 24, expected.begin() + b * 24));
            }
        }
    }
}

TEST_P(Limits, ConversionStrides) {
    const FarMemory memory;
    if (memory.begin() == nullptr) {
        GTEST_SKIP() << "8 GiB of addresses are not to be had";
    }
    if (is_gpu(GetParam())) {
        GTEST_SKIP() << "processors convert";
    }
    const Tensor x({2, 2, 3, 4}, dense());
    x.fill_normal(1);
    std::vector<uint16_t> bits(48);
    const int64_t far = kLimit / 2 - 1;
    for (const int64_t stride : {far, -far}) {
        muattn_tensor floats = spread(x, memory.begin(), stride), narrow = floats;
        narrow.dtype = MUATTN_BFLOAT16;
        narrow.data = bits.data();
        std::fill_n(narrow.strides, 4, 0);
        ASSERT_EQ(muattn_convert(&floats, &narrow), MUATTN_OK) << muattn_last_error();
        auto *const data = static_cast<float *>(floats.data);
        for (float *const batch : {data, data + stride}) {
            std::fill_n(batch, 24, 0.0f);
        }
        ASSERT_EQ(muattn_convert(&narrow, &floats), MUATTN_OK) << muattn_last_error();
        for (size_t i = 0; i < bits.size(); i++) {
            EXPECT_EQ(data[int64_t(i / 24) * stride + int64_t(i % 24)], widened(MUATTN_BFLOAT16, bits[i]));
            EXPECT_EQ(bits[i], rounded_bits(MUATTN_BFLOAT16, x.elements()[i]));
        }
        floats.strides[0] += stride > 0 ? 1 : -1;
        EXPECT_EQ(muattn_convert(&floats, &narrow), MUATTN_INVALID_ARGUMENT);
        EXPECT_EQ(muattn_convert(&narrow, &floats), MUATTN_INVALID_ARGUMENT);
    }
}

// Repeated elements count as well.
TEST_P(Limits, RepeatedElements) {
    std::vector<float> q(1024, 0.5f), k(1024, 0.25f), v(1, 3.0f), out(size_t(1) << 21);
    muattn_tensor t_q{q.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, int64_t(1) << 21, 1024}, {0, 0, 0, 1}, 0};
    const muattn_tensor t_k{k.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1024}, {}, 0},
        t_v{v.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, 1}, {}, 0};
    muattn_tensor t_out{out.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, int64_t(1) << 21, 1}, {}, 0};
    EXPECT_EQ(muattn_spatial_attention_forward(&t_q, &t_k, &t_v, nullptr, &t_out, nullptr), MUATTN_INVALID_Q);
    EXPECT_NE(std::string(muattn_last_error()).find("2^31"), std::string::npos) << muattn_last_error();
}

TEST_P(Limits, ManySmallHeads) {
    SpatialCase spatial;
    spatial.B = 3000, spatial.H = 6, spatial.Hk = 3, spatial.n_q = 2, spatial.n_k = 3, spatial.d = 2, spatial.d_v = 3;
    expect_agrees(spatial);
    ChannelCase channel;
    channel.B = 3000, channel.H = 6, channel.n = 2, channel.d = 3;
    expect_agrees(channel);
}

// Keys that are repeated by a stride of 0 up to the largest size: whole chunks of them still fit into 32 bits.
TEST_P(Limits, MostKeys) {
    SpatialCase c;
    c.n_k = 1;
    const SpatialTensors t = make_tensors(c);
    muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view();
    muattn_spatial_options options{};
    options.causal = MUATTN_CAUSAL_OFFSET;
    options.window = {1, 3, 3};
    for (muattn_tensor *cache : {&k, &v}) {
        cache->shape[2] = kLimit / 2;
        const int64_t strides[] = {1, 1, 0, 1};
        std::copy_n(strides, 4, cache->strides);
    }
    options.causal_offset = k.shape[2] - 3;
    ASSERT_EQ(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, nullptr), MUATTN_OK) << muattn_last_error();
    EXPECT_FLOAT_EQ(t.out.at(0, 0, 0, 0), t.v.at(0, 0, 0, 0));
}

}  // namespace
}  // namespace muattn::test
