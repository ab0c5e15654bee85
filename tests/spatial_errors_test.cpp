// Spatial attention: every rule of muattn.h broken in turn. The status and the message name the argument, nothing is
// written, and the next good call works. The check function says the same.
#include <optional>

#include "support/backends.h"
#include "support/cases.h"
#include "support/faults.h"

namespace muattn::test {
namespace {

// The arguments of a call, as views; reset() gives a null pointer.
struct Arguments {
    std::optional<muattn_tensor> q, k, v, out, lse;
    muattn_spatial_options options{};

    using Function = decltype(&muattn_spatial_attention_forward);
    muattn_status run(Function function = muattn_spatial_attention_forward) const {
        auto pointer = [](const std::optional<muattn_tensor> &t) { return t ? &*t : nullptr; };
        return function(pointer(q), pointer(k), pointer(v), &options, pointer(out), pointer(lse));
    }
    muattn_status check() const { return run(muattn_spatial_attention_forward_check); }
};

struct Fault {
    std::string name;
    std::function<void(Arguments &)> damage;
    muattn_status status;
    std::string says;
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kScales[] = {1, 2, 3, 4, std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};
const int64_t kLengths[] = {3, 5, 6, -1};
const float kTooLarge = 1.01e38f, kTooSmall = -0.9e-37f, kLarge = 1e20f, kSmall = 1e-20f;

class SpatialErrors : public WithSettings {
protected:
    SpatialErrors() {
        c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 3, c.n_k = 5, c.d = 4, c.d_v = 6;
        c.layout = token_major();
        t = make_tensors(c);
    }

    Arguments good() const {
        Arguments a{t.q.view(), t.k.view(), t.v.view(), t.out.view(), t.lse.view(), {}};
        return a;
    }

    void expect(const Fault &fault) {
        SCOPED_TRACE(fault.name);
        t.out.fill(untouched());
        t.lse.fill(untouched());
        const WriteWatch out(t.out), lse(t.lse), q(t.q), k(t.k), v(t.v);
        Arguments a = good();
        EXPECT_EQ(a.check(), MUATTN_OK) << muattn_last_error();
        fault.damage(a);
        const auto checked = refusal_of([&] { return a.check(); });
        EXPECT_EQ(checked, refusal_of([&] { return a.run(); }));
        const muattn_status status = a.run();
        EXPECT_EQ(status, fault.status) << muattn_status_name(status) << ": " << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_error()).find(fault.says), std::string::npos)
            << "expected '" << fault.says << "' in '" << muattn_last_error() << "'";
        for (const WriteWatch *watch : {&out, &lse, &q, &k, &v}) {
            EXPECT_EQ(watch->changes(), 0) << "written in spite of an error";
        }
        ASSERT_EQ(good().run(), MUATTN_OK) << muattn_last_error();
    }

    SpatialCase c;
    SpatialTensors t;
};

struct Part {
    const char *name;
    std::optional<muattn_tensor> Arguments::*tensor;
    muattn_status status;
};

const Part kParts[] = {{"q", &Arguments::q, MUATTN_INVALID_Q},
                       {"k", &Arguments::k, MUATTN_INVALID_K},
                       {"v", &Arguments::v, MUATTN_INVALID_V},
                       {"out", &Arguments::out, MUATTN_INVALID_OUT},
                       {"lse", &Arguments::lse, MUATTN_INVALID_LSE}};

TEST_F(SpatialErrors, FaultsOfATensor) {
    for (const Part &part : kParts) {
        std::vector<TensorFault> faults = tensor_faults();
        if (part.tensor != &Arguments::lse) {
            for (const TensorFault &fault : inner_stride_faults()) {
                faults.push_back(fault);
            }
        }
        for (const TensorFault &fault : faults) {
            expect({std::string(part.name) + ": " + fault.name, [&](Arguments &a) { fault.damage(*(a.*part.tensor)); },
                    part.status, fault.says});
            EXPECT_EQ(std::string(muattn_last_error()).find(part.name), 0u) << muattn_last_error();
        }
    }
}

TEST_F(SpatialErrors, NullTensors) {
    for (const Part &part : kParts) {
        if (part.tensor != &Arguments::lse) {
            expect({part.name, [&](Arguments &a) { (a.*part.tensor).reset(); }, part.status,
                    std::string(part.name) + " must not be null"});
        }
    }
}

// Every dimension that must agree with another, one less and one more.
TEST_F(SpatialErrors, SizesThatDoNotAgree) {
    struct Size {
        Part part;
        int dim;
        const char *says;
    };
    const Size sizes[] = {
        {kParts[1], 0, "k.shape[0]"},   {kParts[1], 3, "k.shape[3]"},   {kParts[2], 0, "v.shape[0]"},
        {kParts[2], 1, "v.shape[1]"},   {kParts[2], 2, "v.shape[2]"},   {kParts[3], 0, "out.shape[0]"},
        {kParts[3], 1, "out.shape[1]"}, {kParts[3], 2, "out.shape[2]"}, {kParts[3], 3, "out.shape[3]"},
        {kParts[4], 0, "lse.shape[0]"}, {kParts[4], 1, "lse.shape[1]"}, {kParts[4], 2, "lse.shape[2]"}};
    for (const Size &size : sizes) {
        for (const int64_t change : {-1, 1}) {
            expect({size.says, [&](Arguments &a) { (a.*size.part.tensor)->shape[size.dim] += change; },
                    size.part.status, size.says});
        }
    }
    expect({"two lse per row", [](Arguments &a) { a.lse->shape[3] = 2, a.lse->strides[3] = 1; }, MUATTN_INVALID_LSE,
            "lse.shape[3]"});
    expect({"Hk does not divide H", [](Arguments &a) { a.k->shape[1] = 3; }, MUATTN_INVALID_K, "k.shape[1]"});
    expect({"more Hk than H", [](Arguments &a) { a.k->shape[1] = 8; }, MUATTN_INVALID_K, "k.shape[1]"});
}

TEST_F(SpatialErrors, HeadDimensionsOutOfRange) {
    for (const int64_t d : {int64_t(0), int64_t(MUATTN_MAX_D + 1)}) {
        expect({"d", [&](Arguments &a) { a.q->shape[3] = a.k->shape[3] = d; }, MUATTN_INVALID_Q, "q.shape[3]"});
        expect({"d_v", [&](Arguments &a) { a.v->shape[3] = a.out->shape[3] = d; }, MUATTN_INVALID_V, "v.shape[3]"});
    }
}

TEST_F(SpatialErrors, NoKeyHeadsForSomeHeads) {
    expect({"Hk", [](Arguments &a) { a.k->shape[1] = a.v->shape[1] = 0; }, MUATTN_INVALID_K, "k.shape[1]"});
}

// What the sizes are is said before where the data is.
TEST_F(SpatialErrors, AShapeOutOfRangeWithoutData) {
    expect({"q", [](Arguments &a) { a.q->data = nullptr, a.q->shape[2] = -1; }, MUATTN_INVALID_Q, "q.shape[2]"});
}

TEST_F(SpatialErrors, OutputsThatOverlap) {
    expect({"out is q", [](Arguments &a) { a.out->data = a.q->data; }, MUATTN_INVALID_OUT, "out must not overlap q"});
    expect({"out is k", [](Arguments &a) { a.out->data = a.k->data; }, MUATTN_INVALID_OUT, "out must not overlap k"});
    expect({"out ends in v", [&](Arguments &a) { a.out->data = &t.v.at(1, 1, 4, 5); }, MUATTN_INVALID_OUT,
            "out must not overlap v"});
    expect({"lse is q", [](Arguments &a) { a.lse->data = a.q->data; }, MUATTN_INVALID_LSE, "lse must not overlap q"});
    expect({"lse is out", [](Arguments &a) { a.lse->data = a.out->data; }, MUATTN_INVALID_LSE,
            "lse must not overlap out"});
    expect({"out repeats heads", [](Arguments &a) { a.out->strides[1] = 0; }, MUATTN_INVALID_OUT, "out.strides"});
    expect({"out's rows overlap", [](Arguments &a) { a.out->strides[2] = 5, a.out->strides[1] = 100; },
            MUATTN_INVALID_OUT, "out.strides"});
    expect({"out's rows overlap backwards", [](Arguments &a) { a.out->strides[2] = -5, a.out->strides[1] = 100; },
            MUATTN_INVALID_OUT, "out.strides"});
    expect({"lse repeats rows", [](Arguments &a) { a.lse->strides[2] = 0; }, MUATTN_INVALID_LSE, "lse.strides"});
}

// Packed slices, shifted so that out reaches into its neighbour.
TEST_F(SpatialErrors, PackedSlicesThatOverlap) {
    const std::vector<Tensor> slices = packed_tensors(2, 1, 2, 4, 6);
    for (const int shift : {1, 5, 11}) {
        SpatialCase packed;
        packed.H = packed.Hk = 2, packed.n_q = packed.n_k = 4, packed.d = packed.d_v = 6;
        const SpatialTensors other = make_tensors(packed);
        const muattn_tensor q = slices[0].view(), k = other.k.view(), v = other.v.view();
        muattn_tensor out = slices[1].view();
        out.data = static_cast<float *>(out.data) - shift;
        EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &v, nullptr, &out, nullptr), MUATTN_INVALID_OUT)
            << "shifted by " << shift;
    }
}

TEST_F(SpatialErrors, Scales) {
    for (const int i : {4, 5, 6}) {
        expect({"one scale, not finite",
                [&](Arguments &a) { a.options.scale = kScales + i, a.options.scale_count = 1; }, MUATTN_INVALID_SCALE,
                "scale[0]"});
    }
    expect({"a scale too large", [](Arguments &a) { a.options.scale = &kTooLarge, a.options.scale_count = 1; },
            MUATTN_INVALID_SCALE, "scale[0] must be 0 or of magnitude 1e-37..1e+38"});
    expect({"a scale too small", [](Arguments &a) { a.options.scale = &kTooSmall, a.options.scale_count = 1; },
            MUATTN_INVALID_SCALE, "scale[0] must be 0 or of magnitude 1e-37..1e+38"});
    expect({"the last of four", [](Arguments &a) { a.options.scale = kScales + 1, a.options.scale_count = 4; },
            MUATTN_INVALID_SCALE, "scale[3]"});
    for (const int64_t count : {0, -1, 2, 3, 5}) {
        expect({"scale_count", [&](Arguments &a) { a.options.scale = kScales, a.options.scale_count = count; },
                MUATTN_INVALID_SCALE, "scale_count"});
    }
    expect({"unknown rule", [](Arguments &a) { a.options.scaling = unknown_value<muattn_scaling>(); },
            MUATTN_INVALID_SCALING, "scaling"});
    expect({"a rule of the other operator", [](Arguments &a) { a.options.scaling = MUATTN_SCALING_MUP_MEAN; },
            MUATTN_INVALID_SCALING, "scaling"});
    expect({"negative d_base", [](Arguments &a) { a.options.d_base = -1; }, MUATTN_INVALID_SCALING, "d_base"});
}

TEST_F(SpatialErrors, FactorsOfARule) {
    const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
    for (const double bad : {-1.0, nan, infinity, -infinity}) {
        expect({"alpha", [&](Arguments &a) { a.options.alpha = bad; }, MUATTN_INVALID_SCALING,
                "alpha must be finite and above 0"});
        expect({"power",
                [&](Arguments &a) {
                    a.options.scaling = MUATTN_SCALING_MUP;
                    a.options.power = bad;
                },
                MUATTN_INVALID_SCALING, "power must be finite and above 0"});
    }
    for (const muattn_scaling scaling : {MUATTN_SCALING_SP, MUATTN_SCALING_MUP_HEADS, MUATTN_SCALING_UMUP}) {
        expect({"a power that the rule has not",
                [&](Arguments &a) {
                    a.options.scaling = scaling;
                    a.options.power = 1;
                },
                MUATTN_INVALID_SCALING, "power: only MUATTN_SCALING_MUP has one"});
    }
    for (const double extreme : {1e-40, 1e40}) {
        expect({"a rule's scale out of range", [&](Arguments &a) { a.options.alpha = extreme; }, MUATTN_INVALID_SCALING,
                "must be of magnitude 1e-37..1e+38"});
    }
    expect({"alpha beside scale",
            [](Arguments &a) {
                a.options.scale = kScales, a.options.scale_count = 1;
                a.options.alpha = 1;
            },
            MUATTN_INVALID_SCALING, "alpha: not where scale is given"});
    expect({"power beside scale",
            [](Arguments &a) {
                a.options.scaling = MUATTN_SCALING_MUP;
                a.options.scale = kScales, a.options.scale_count = 1;
                a.options.power = 1;
            },
            MUATTN_INVALID_SCALING, "power: not where scale is given"});
    expect({"scale under umup",
            [](Arguments &a) {
                a.options.scaling = MUATTN_SCALING_UMUP;
                a.options.scale = kScales, a.options.scale_count = 1;
            },
            MUATTN_INVALID_SCALE, "give output_multiplier as well"});
}

TEST_F(SpatialErrors, OutputMultipliers) {
    static const float kBad[] = {std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity, 0.9e-28f, -1.1e38f};
    for (const float &bad : kBad) {
        expect({"output_multiplier", [&](Arguments &a) { a.options.output_multiplier = &bad; },
                MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be 0 or of magnitude 1e-28..1e+38"});
    }
}

TEST_F(SpatialErrors, Softcaps) {
    for (const float softcap : {-1.0f, 0.9e-20f, 1.1e20f, kInfinity, std::numeric_limits<float>::quiet_NaN()}) {
        expect({"softcap", [&](Arguments &a) { a.options.softcap = softcap; }, MUATTN_INVALID_SOFTCAP,
                "softcap must lie in 1e-20..1e+20"});
    }
    expect({"a scale too large for it",
            [](Arguments &a) {
                a.options.scale = &kLarge, a.options.scale_count = 1;
                a.options.softcap = 0.9e-18f;
            },
            MUATTN_INVALID_SOFTCAP, "scale[0] / softcap"});
    expect({"a scale too small for it",
            [](Arguments &a) {
                a.options.scale = &kSmall, a.options.scale_count = 1;
                a.options.softcap = 1.1e17f;
            },
            MUATTN_INVALID_SOFTCAP, "scale[0] / softcap"});
    expect({"a rule's scale too large for it",
            [](Arguments &a) {
                a.options.alpha = 1e30;
                a.options.softcap = 1e-19f;
            },
            MUATTN_INVALID_SOFTCAP, "scale[0] / softcap"});
}

TEST_F(SpatialErrors, Masks) {
    expect({"unknown alignment", [](Arguments &a) { a.options.causal = unknown_value<muattn_causal>(); },
            MUATTN_INVALID_CAUSAL, "causal"});
    expect({"negative alignment", [](Arguments &a) { a.options.causal = unknown_value<muattn_causal>(-1); },
            MUATTN_INVALID_CAUSAL, "causal"});
    expect({"offsets of a named alignment",
            [](Arguments &a) {
                a.options.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
                a.options.causal_offsets = kLengths;
            },
            MUATTN_INVALID_CAUSAL, "causal_offsets: causal must be MUATTN_CAUSAL_OFFSET"});
    expect({"a length over n_k", [](Arguments &a) { a.options.key_lengths = kLengths + 1; }, MUATTN_INVALID_KEY_LENGTHS,
            "key_lengths[1]"});
    expect({"a negative length", [](Arguments &a) { a.options.key_lengths = kLengths + 2; }, MUATTN_INVALID_KEY_LENGTHS,
            "key_lengths[0]"});
}

}  // namespace
}  // namespace muattn::test
