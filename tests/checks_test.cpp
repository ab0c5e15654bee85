// The check functions with arguments that are right: nothing is read or written, whatever this machine has. With wrong ones the
// *_errors_test.cpp compare them with their calls.
#include "muattn/muattn.h"
#include "support/backends.h"

namespace muattn::test {
namespace {

// At an address that nothing is at.
class Nowhere {
public:
    explicit Nowhere(muattn_dtype dtype, muattn_device device = MUATTN_CPU) : dtype_(dtype), device_(device) {}

    muattn_tensor tensor(int64_t a, int64_t b, int64_t c, int64_t d, bool is_float = false) const {
        address_ += size_t(1) << 28;
        // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing follows it
        return {reinterpret_cast<void *>(address_), is_float ? MUATTN_FLOAT32 : dtype_, device_, {a, b, c, d}, {}, 0};
    }

private:
    const muattn_dtype dtype_;
    const muattn_device device_;
    mutable uintptr_t address_ = 0;
};

class Checks : public WithSettings {
protected:
    void TearDown() override {
        EXPECT_STREQ(muattn_last_kernel(), kernel_.c_str());
        WithSettings::TearDown();
    }

private:
    const std::string kernel_ = muattn_last_kernel();
};

void expect_right(const Nowhere &n) {
    const muattn_tensor q = n.tensor(2, 4, 300, 64), k = n.tensor(2, 2, 500, 64), v = n.tensor(2, 2, 500, 80),
                        out = n.tensor(2, 4, 300, 80), lse = n.tensor(2, 4, 300, 1, true),
                        mask = n.tensor(1, 4, 300, 500, true);
    EXPECT_EQ(muattn_spatial_attention_forward_check(&q, &k, &v, nullptr, &out, nullptr), MUATTN_OK);
    muattn_spatial_options options{};
    options.mask = &mask;
    options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
    EXPECT_EQ(muattn_spatial_attention_forward_check(&q, &k, &v, &options, &out, &lse), MUATTN_OK);
    const muattn_tensor d_out = n.tensor(2, 4, 300, 80), d_lse = n.tensor(2, 4, 300, 1, true),
                        d_q = n.tensor(2, 4, 300, 64), d_k = n.tensor(2, 2, 500, 64), d_v = n.tensor(2, 2, 500, 80),
                        d_mask = n.tensor(1, 4, 300, 500, true);
    muattn_spatial_gradients gradients{};
    EXPECT_EQ(muattn_spatial_attention_backward_check(&q, &k, &v, &out, &lse, &d_out, nullptr, nullptr, &gradients),
              MUATTN_OK);
    float d_output_multiplier = 7;
    gradients.d_q = &d_q, gradients.d_k = &d_k, gradients.d_v = &d_v, gradients.d_mask = &d_mask;
    gradients.d_output_multiplier = &d_output_multiplier;
    EXPECT_EQ(muattn_spatial_attention_backward_check(&q, &k, &v, &out, &lse, &d_out, &d_lse, &options, &gradients),
              MUATTN_OK)
        << muattn_last_error();
    EXPECT_EQ(d_output_multiplier, 7);
}

void expect_right_channels(const Nowhere &n) {
    const muattn_tensor q = n.tensor(2, 4, 300, 64), k = n.tensor(2, 4, 300, 64), v = n.tensor(2, 4, 300, 64),
                        out = n.tensor(2, 4, 300, 64), d_out = n.tensor(2, 4, 300, 64), d_q = n.tensor(2, 4, 300, 64),
                        map = n.tensor(2, 4, 64, 64, true);
    EXPECT_EQ(muattn_channel_attention_forward_check(&q, &k, &v, nullptr, &out), MUATTN_OK);
    float d_scale[] = {7, 7, 7, 7};
    muattn_channel_gradients gradients{};
    gradients.d_q = &d_q, gradients.d_scale = d_scale;
    EXPECT_EQ(muattn_channel_attention_backward_check(&q, &k, &v, &d_out, &map, nullptr, &gradients), MUATTN_OK)
        << muattn_last_error();
    EXPECT_EQ(d_scale[0], 7);
    muattn_channel_options options{};
    options.layout = MUATTN_CHANNELS_FIRST;
    const muattn_tensor first = n.tensor(2, 4, 64, 300);
    const muattn_tensor out_first = n.tensor(2, 4, 64, 300);
    EXPECT_EQ(muattn_channel_attention_forward_check(&first, &first, &first, &options, &out_first), MUATTN_OK);
}

TEST_F(Checks, ReadNothing) {
    for (const muattn_dtype dtype : {MUATTN_FLOAT32, MUATTN_FLOAT16, MUATTN_BFLOAT16}) {
        expect_right(Nowhere(dtype));
        expect_right_channels(Nowhere(dtype));
    }
}

// Which GPUs there are, and what they can do, is the call's business.
TEST_F(Checks, DoNotLookForADevice) {
    for (const muattn_device device : {MUATTN_CUDA, MUATTN_VULKAN, MUATTN_OPENCL}) {
        expect_right(Nowhere(MUATTN_FLOAT32, device));
        expect_right_channels(Nowhere(MUATTN_FLOAT32, device));
    }
}

TEST_F(Checks, RowScales) {
    const Nowhere n(MUATTN_FLOAT32), int8(MUATTN_INT8);
    const muattn_tensor q = n.tensor(1, 2, 1, 16), k = int8.tensor(1, 2, 90, 16), scale = n.tensor(1, 2, 90, 1),
                        out = n.tensor(1, 2, 1, 16);
    muattn_spatial_options options{};
    EXPECT_EQ(muattn_spatial_attention_forward_check(&q, &k, &k, &options, &out, nullptr), MUATTN_INVALID_K);
    EXPECT_STREQ(muattn_last_error(), "k_scale must be given where k is int8");
    options.k_scale = options.v_scale = &scale;
    EXPECT_EQ(muattn_spatial_attention_forward_check(&q, &k, &k, &options, &out, nullptr), MUATTN_OK)
        << muattn_last_error();
}

}  // namespace
}  // namespace muattn::test
