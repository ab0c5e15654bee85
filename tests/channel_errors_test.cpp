// Channel attention: every rule of muattn.h broken in turn. The status and the message name the argument, nothing is
// written, and the next good call works. The check function says the same.
#include <optional>

#include "support/backends.h"
#include "support/cases.h"
#include "support/faults.h"

namespace muattn::test {
namespace {

// The arguments of a call, as views; reset() gives a null pointer.
struct Arguments {
    std::optional<muattn_tensor> q, k, v, out;
    muattn_channel_options options{};

    using Function = decltype(&muattn_channel_attention_forward);
    muattn_status run(Function function = muattn_channel_attention_forward) const {
        auto pointer = [](const std::optional<muattn_tensor> &t) { return t ? &*t : nullptr; };
        return function(pointer(q), pointer(k), pointer(v), &options, pointer(out));
    }
    muattn_status check() const { return run(muattn_channel_attention_forward_check); }
};

struct Fault {
    std::string name;
    std::function<void(Arguments &)> damage;
    muattn_status status;
    std::string says;
};

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNumbers[] = {1, 2, 3, std::numeric_limits<float>::quiet_NaN(), kInfinity, -kInfinity};
const float kTooLarge = 1.01e25f, kTooSmall = 0.9e-34f;

class ChannelErrors : public WithSettings {
protected:
    ChannelErrors() {
        c.B = 2, c.H = 3, c.n = 5, c.d = 4;
        c.layout = token_major();
        t = make_tensors(c);
    }

    Arguments good() const { return {t.q.view(), t.k.view(), t.v.view(), t.out.view(), {}}; }

    void expect(const Fault &fault) {
        SCOPED_TRACE(fault.name);
        t.out.fill(untouched());
        const WriteWatch out(t.out), q(t.q), k(t.k), v(t.v);
        Arguments a = good();
        EXPECT_EQ(a.check(), MUATTN_OK) << muattn_last_error();
        fault.damage(a);
        const auto checked = refusal_of([&] { return a.check(); });
        EXPECT_EQ(checked, refusal_of([&] { return a.run(); }));
        const muattn_status status = a.run();
        EXPECT_EQ(status, fault.status) << muattn_status_name(status) << ": " << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_error()).find(fault.says), std::string::npos)
            << "expected '" << fault.says << "' in '" << muattn_last_error() << "'";
        for (const WriteWatch *watch : {&out, &q, &k, &v}) {
            EXPECT_EQ(watch->changes(), 0) << "written in spite of an error";
        }
        ASSERT_EQ(good().run(), MUATTN_OK) << muattn_last_error();
    }

    ChannelCase c;
    ChannelTensors t;
};

struct Part {
    const char *name;
    std::optional<muattn_tensor> Arguments::*tensor;
    muattn_status status;
};

const Part kParts[] = {{"q", &Arguments::q, MUATTN_INVALID_Q},
                       {"k", &Arguments::k, MUATTN_INVALID_K},
                       {"v", &Arguments::v, MUATTN_INVALID_V},
                       {"out", &Arguments::out, MUATTN_INVALID_OUT}};

TEST_F(ChannelErrors, FaultsOfATensor) {
    for (const Part &part : kParts) {
        std::vector<TensorFault> faults = tensor_faults();
        for (const TensorFault &fault : inner_stride_faults()) {
            faults.push_back(fault);
        }
        for (const TensorFault &fault : faults) {
            expect({std::string(part.name) + ": " + fault.name, [&](Arguments &a) { fault.damage(*(a.*part.tensor)); },
                    part.status, fault.says});
            EXPECT_EQ(std::string(muattn_last_error()).find(part.name), 0u) << muattn_last_error();
        }
        expect({part.name, [&](Arguments &a) { (a.*part.tensor).reset(); }, part.status,
                std::string(part.name) + " must not be null"});
    }
}

TEST_F(ChannelErrors, SizesThatDoNotAgree) {
    for (const Part &part : {kParts[1], kParts[2], kParts[3]}) {
        for (int dim = 0; dim < 4; dim++) {
            for (const int64_t change : {-1, 1}) {
                const std::string says = std::string(part.name) + ".shape[" + std::to_string(dim) + "]";
                expect({says, [&](Arguments &a) { (a.*part.tensor)->shape[dim] += change; }, part.status, says});
            }
        }
    }
}

TEST_F(ChannelErrors, HeadDimensionOutOfRange) {
    for (const int64_t d : {0, MUATTN_MAX_D + 1}) {
        expect({"d", [&](Arguments &a) { a.q->shape[3] = a.k->shape[3] = a.v->shape[3] = d; }, MUATTN_INVALID_Q,
                "q.shape[3]"});
    }
}

TEST_F(ChannelErrors, OutputsThatOverlap) {
    expect({"out is q", [](Arguments &a) { a.out->data = a.q->data; }, MUATTN_INVALID_OUT, "out must not overlap q"});
    expect({"out is k", [](Arguments &a) { a.out->data = a.k->data; }, MUATTN_INVALID_OUT, "out must not overlap k"});
    expect({"out begins in v", [&](Arguments &a) { a.out->data = &t.v.at(1, 2, 4, 3); }, MUATTN_INVALID_OUT,
            "out must not overlap v"});
    expect(
        {"out repeats batch entries", [](Arguments &a) { a.out->strides[0] = 0; }, MUATTN_INVALID_OUT, "out.strides"});
    expect({"out's tokens overlap", [](Arguments &a) { a.out->strides[2] = 3, a.out->strides[1] = 100; },
            MUATTN_INVALID_OUT, "out.strides"});
}

TEST_F(ChannelErrors, ScalesAndMultipliers) {
    for (const int i : {3, 4, 5}) {
        expect({"one scale, not finite",
                [&](Arguments &a) { a.options.scale = kNumbers + i, a.options.scale_count = 1; }, MUATTN_INVALID_SCALE,
                "scale[0]"});
        expect({"multiplier", [&](Arguments &a) { a.options.output_multiplier = kNumbers + i; },
                MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier"});
    }
    expect({"a normalised scale too large",
            [](Arguments &a) {
                a.options.scale = &kTooLarge, a.options.scale_count = 1;
                a.options.normalize = 1;
            },
            MUATTN_INVALID_SCALE, "scale[0] must be 0 or of magnitude 1e-37..1e+25"});
    for (const double bad : {-1.0, double(kInfinity), double(kNumbers[3])}) {
        expect({"alpha", [&](Arguments &a) { a.options.alpha = bad; }, MUATTN_INVALID_SCALING,
                "alpha must be finite and above 0"});
    }
    expect({"alpha beside scale",
            [](Arguments &a) {
                a.options.scale = kNumbers, a.options.scale_count = 1;
                a.options.alpha = 2;
            },
            MUATTN_INVALID_SCALING, "alpha: not where scale is given"});
    expect({"a normalised rule's scale too large",
            [](Arguments &a) {
                a.options.alpha = 1e26;
                a.options.normalize = 1;
            },
            MUATTN_INVALID_SCALING, "must be of magnitude 1e-37..1e+25"});
    expect({"a rule of the other operator", [](Arguments &a) { a.options.scaling = MUATTN_SCALING_UMUP; },
            MUATTN_INVALID_SCALING, "scaling: UMUP is a rule of spatial attention only"});
    expect({"a multiplier too small", [](Arguments &a) { a.options.output_multiplier = &kTooSmall; },
            MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must be 0 or of magnitude 1e-34..1e+38"});
    expect({"the last of three", [](Arguments &a) { a.options.scale = kNumbers + 1, a.options.scale_count = 3; },
            MUATTN_INVALID_SCALE, "scale[2]"});
    for (const int64_t count : {0, -1, 2, 4}) {
        expect({"scale_count", [&](Arguments &a) { a.options.scale = kNumbers, a.options.scale_count = count; },
                MUATTN_INVALID_SCALE, "scale_count"});
    }
    expect({"unknown rule", [](Arguments &a) { a.options.scaling = unknown_value<muattn_scaling>(); },
            MUATTN_INVALID_SCALING, "scaling"});
    expect({"negative d_base", [](Arguments &a) { a.options.d_base = -1; }, MUATTN_INVALID_SCALING, "d_base"});
    expect({"muP without d_base", [](Arguments &a) { a.options.scaling = MUATTN_SCALING_MUP; }, MUATTN_INVALID_SCALING,
            "d_base"});
}

}  // namespace
}  // namespace muattn::test
