// Results do not depend on the floating-point mode of the thread that calls, or of those that a caller's pool has, and the mode is
// afterwards as before.
#include <cfenv>
#include <cstring>
#include <thread>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

#if defined(__x86_64__)
using Mode = uint32_t;
constexpr Mode kFlags = 0x3f;
Mode mode() {
    Mode mxcsr = 0;
    asm volatile("stmxcsr %0" : "=m"(mxcsr));
    return mxcsr & ~kFlags;
}
void set_mode(Mode mode) { asm volatile("ldmxcsr %0" : : "m"(mode)); }
// Subnormal results to zero, subnormal inputs to zero, both, and all but to nearest; the last traps a division by zero.
constexpr Mode kModes[] = {0x9f80, 0x1fc0, 0x9fc0, 0x3f80, 0x5f80, 0x7f80, 0xffc0, 0x1d80};
#elif defined(__aarch64__)
using Mode = uint64_t;
Mode mode() {
    Mode fpcr = 0;
    asm volatile("mrs %0, fpcr" : "=r"(fpcr));
    return fpcr;
}
void set_mode(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
constexpr Mode kModes[] = {1 << 24, 1 << 22, 2 << 22, 3 << 22, 7 << 22};
#else
using Mode = int;
Mode mode() { return fegetround(); }
void set_mode(Mode mode) { fesetround(mode); }
constexpr Mode kModes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO};
#endif

// A thread's mode, for a scope.
class InMode {
public:
    explicit InMode(Mode mode) : before_(test::mode()) { set_mode(mode); }
    ~InMode() { set_mode(before_); }
    InMode(const InMode &) = delete;
    InMode &operator=(const InMode &) = delete;

private:
    Mode before_;
};

using Bits = std::vector<uint32_t>;

void append(Bits &bits, const Tensor &tensor) {
    for (const float x : tensor.elements()) {
        uint32_t of_x = 0;
        memcpy(&of_x, &x, sizeof of_x);
        bits.push_back(of_x);
    }
}

class FloatingPoint : public OnEveryBackend {
protected:
    void SetUp() override {
        OnEveryBackend::SetUp();
        if (IsSkipped()) {
            return;
        }
        spatial.B = 2, spatial.H = 3, spatial.n_q = 37, spatial.n_k = 61, spatial.d = 20, spatial.d_v = 17;
        spatial.scaling = MUATTN_SCALING_MUP, spatial.d_base = 7;
        spatial.softcap = 3;
        channel.B = 2, channel.H = 3, channel.n = 50, channel.d = 33;
        channel.scaling = MUATTN_SCALING_MUP, channel.d_base = 7;
        spatial_tensors = make_tensors(spatial);
        channel_tensors = make_tensors(channel);
        // Values below 2^-126, and results there.
        spatial_tensors.v.fill_normal(3, 1e-39);
        channel_tensors.v.fill_normal(4, 1e-39);
        other_lse = Tensor(spatial_tensors.lse.shape(), dense());
        other_lse.fill_normal(5);
    }

    // What every call computes: both operators, a merge, a conversion, and the scaling rules.
    Bits results() const {
        Bits bits;
        EXPECT_EQ(run(spatial, spatial_tensors), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(run(channel, channel_tensors), MUATTN_OK) << muattn_last_error();
        const Tensor out(spatial_tensors.out.shape(), dense()), lse(spatial_tensors.lse.shape(), dense());
        const muattn_tensor a = spatial_tensors.out.view(), l_a = spatial_tensors.lse.view(), l_b = other_lse.view(),
                            o = out.view(), l = lse.view();
        EXPECT_EQ(muattn_merge(&a, &l_a, &a, &l_b, &o, &l), MUATTN_OK) << muattn_last_error();
        const Tensor rounded = Tensor(out.shape(), dense()).narrowed(MUATTN_BFLOAT16);
        const muattn_tensor r = rounded.view();
        EXPECT_EQ(muattn_convert(&o, &r), is_gpu(GetParam()) ? MUATTN_UNSUPPORTED : MUATTN_OK) << muattn_last_error();
        for (const Tensor &t : {spatial_tensors.out, spatial_tensors.lse, channel_tensors.out, out, lse}) {
            append(bits, t);
        }
        for (const uint16_t of_x : rounded.bits()) {
            bits.push_back(of_x);
        }
        double scales[5] = {};
        EXPECT_EQ(muattn_spatial_scale(MUATTN_SCALING_MUP, 29, 7, &scales[0]), MUATTN_OK);
        EXPECT_EQ(muattn_channel_scale(MUATTN_SCALING_SP, 29, &scales[1]), MUATTN_OK);
        EXPECT_EQ(muattn_channel_output_multiplier(MUATTN_SCALING_MUP, 29, 7, &scales[2]), MUATTN_OK);
        muattn_spatial_options options{};
        options.scaling = MUATTN_SCALING_MUP, options.power = 0.7;
        EXPECT_EQ(muattn_spatial_rule(&options, 29, 53, &scales[3], nullptr), MUATTN_OK);
        options.scaling = MUATTN_SCALING_UMUP, options.power = 0, options.alpha = 3;
        EXPECT_EQ(muattn_spatial_rule(&options, 29, 53, nullptr, &scales[4]), MUATTN_OK);
        for (const double scale : scales) {
            uint64_t of_scale = 0;
            memcpy(&of_scale, &scale, sizeof of_scale);
            bits.push_back(uint32_t(of_scale));
            bits.push_back(uint32_t(of_scale >> 32));
        }
        return bits;
    }

    void expect_the_same_in_every_mode(const Bits &expected) const {
        for (const Mode mode : kModes) {
            Bits found;
            Mode after{};
            {
                const InMode in_mode(mode);
                found = results();
                after = test::mode();
            }
            EXPECT_TRUE(found == expected) << "mode " << std::hex << mode;
            EXPECT_EQ(after, mode);
        }
    }

    SpatialCase spatial;
    ChannelCase channel;
    SpatialTensors spatial_tensors;
    ChannelTensors channel_tensors;
    Tensor other_lse;
};
MUATTN_ON_EVERY_BACKEND(FloatingPoint);

TEST_P(FloatingPoint, ResultsDoNotDependOnTheCallersMode) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const Bits expected = results();
    for (const int threads : {1, 2, 7}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        EXPECT_TRUE(results() == expected) << threads << " threads";
        expect_the_same_in_every_mode(expected);
    }
}

// Tasks on threads of a pool of the caller's, which have another mode than the caller.
TEST_P(FloatingPoint, ResultsDoNotDependOnAPoolsMode) {
    struct Pool {
        Mode mode;
        static void two_threads(void *user, int count, muattn_task task, void *context) {
            const Mode mode = static_cast<Pool *>(user)->mode;
            std::thread threads[2];
            for (int first = 0; first < 2; first++) {
                threads[first] = std::thread([=] {
                    const InMode in_mode(mode);
                    for (int i = first; i < count; i += 2) {
                        task(context, i);
                        EXPECT_EQ(test::mode(), mode);
                    }
                });
            }
            for (std::thread &thread : threads) {
                thread.join();
            }
        }
    };
    ASSERT_EQ(muattn_set_num_threads(2), MUATTN_OK);
    const Bits expected = results();
    for (const Mode mode : kModes) {
        Pool pool{mode};
        muattn_set_parallel_for(Pool::two_threads, &pool);
        EXPECT_TRUE(results() == expected) << "mode " << std::hex << mode;
    }
}

// A pool's threads are made by whichever call needs them first: not in its mode.
TEST_P(FloatingPoint, ThreadsDoNotInheritAMode) {
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    const Bits expected = results();
    ASSERT_EQ(muattn_set_num_threads(9), MUATTN_OK);  // more than other tests have made
    {
        const InMode in_mode(kModes[2]);
        results();
    }
    for (int i = 0; i < 300; i++) {
        EXPECT_TRUE(results() == expected);
    }
}

}  // namespace
}  // namespace muattn::test
