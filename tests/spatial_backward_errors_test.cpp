// Spatial attention's gradients: every rule of muattn.h broken in turn. The status and the message name the argument, and nothing is
// written. The check function says the same.
#include <optional>

#include "support/backends.h"
#include "support/faults.h"
#include "support/spatial_gradients.h"

namespace muattn::test {
namespace {

struct Arguments {
    std::optional<muattn_tensor> q, k, v, out, lse, d_out, d_lse, d_q, d_k, d_v, mask, d_mask;
    muattn_spatial_options options{};
    bool with_gradients = true;
    float *d_sink = nullptr, *d_output_multiplier = nullptr;

    using Function = decltype(&muattn_spatial_attention_backward);
    muattn_status check() { return run(muattn_spatial_attention_backward_check); }
    muattn_status run(Function function = muattn_spatial_attention_backward) {
        const auto pointer = [](const std::optional<muattn_tensor> &t) { return t ? &*t : nullptr; };
        options.mask = pointer(mask);
        muattn_spatial_gradients gradients{};
        gradients.d_q = pointer(d_q), gradients.d_k = pointer(d_k), gradients.d_v = pointer(d_v);
        gradients.d_mask = pointer(d_mask);
        gradients.d_sink = d_sink;
        gradients.d_output_multiplier = d_output_multiplier;
        return function(pointer(q), pointer(k), pointer(v), pointer(out), pointer(lse), pointer(d_out), pointer(d_lse),
                        &options, with_gradients ? &gradients : nullptr);
    }
};

class SpatialBackwardErrors : public WithSettings {
protected:
    SpatialBackwardErrors() {
        c.B = 2, c.H = 4, c.Hk = 2, c.n_q = 3, c.n_k = 5, c.d = 4, c.d_v = 6;
        c.mask = SpatialCase::additive;
        c.layout = token_major();
        t = make_gradient_tensors(c);
        t.clear();
    }

    Arguments good() const {
        Arguments a;
        a.q = t.inputs.q.view(), a.k = t.inputs.k.view(), a.v = t.inputs.v.view(), a.out = t.inputs.out.view();
        a.lse = t.inputs.lse.view(), a.mask = t.inputs.mask.view();
        a.d_out = t.d_out.view(), a.d_lse = t.d_lse.view();
        a.d_q = t.d_q.view(), a.d_k = t.d_k.view(), a.d_v = t.d_v.view(), a.d_mask = t.d_mask.view();
        return a;
    }

    void expect(const std::string &name, const std::function<void(Arguments &)> &damage, muattn_status status,
                const std::string &says) {
        SCOPED_TRACE(name);
        const WriteWatch d_q(t.d_q), d_k(t.d_k), d_v(t.d_v), d_mask(t.d_mask);
        Arguments a = good();
        EXPECT_EQ(a.check(), MUATTN_OK) << muattn_last_error();
        damage(a);
        const auto checked = refusal_of([&] { return a.check(); });
        EXPECT_EQ(checked, refusal_of([&] { return a.run(); }));
        EXPECT_EQ(a.run(), status) << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_error()).find(says), std::string::npos)
            << "expected '" << says << "' in '" << muattn_last_error() << "'";
        for (const WriteWatch *watch : {&d_q, &d_k, &d_v, &d_mask}) {
            EXPECT_EQ(watch->changes(), 0) << "a call that is refused writes";
        }
    }

    SpatialBackwardCase c;
    SpatialGradientTensors t;
};

struct Tensors {
    const char *name;
    std::optional<muattn_tensor> Arguments::*tensor;
    muattn_status status;
    bool inner_stride;  // has to be 1
};

const Tensors kTensors[] = {
    {"q", &Arguments::q, MUATTN_INVALID_Q, true},
    {"k", &Arguments::k, MUATTN_INVALID_K, true},
    {"v", &Arguments::v, MUATTN_INVALID_V, true},
    {"out", &Arguments::out, MUATTN_INVALID_OUT, true},
    {"lse", &Arguments::lse, MUATTN_INVALID_LSE, false},
    {"d_out", &Arguments::d_out, MUATTN_INVALID_D_OUT, true},
    {"d_lse", &Arguments::d_lse, MUATTN_INVALID_D_LSE, false},
    {"d_q", &Arguments::d_q, MUATTN_INVALID_D_Q, true},
    {"d_k", &Arguments::d_k, MUATTN_INVALID_D_K, true},
    {"d_v", &Arguments::d_v, MUATTN_INVALID_D_V, true},
    {"d_mask", &Arguments::d_mask, MUATTN_INVALID_D_MASK, true},
};

TEST_F(SpatialBackwardErrors, OfEachTensor) {
    ASSERT_EQ(good().run(), MUATTN_OK) << muattn_last_error();
    t.clear();
    for (const Tensors &of : kTensors) {
        std::vector<TensorFault> faults = tensor_faults();
        if (of.inner_stride) {
            const std::vector<TensorFault> more = inner_stride_faults();
            faults.insert(faults.end(), more.begin(), more.end());
        }
        for (const TensorFault &fault : faults) {
            expect(
                std::string(of.name) + ": " + fault.name, [&](Arguments &a) { fault.damage(*(a.*of.tensor)); },
                of.status, (fault.says[0] == '.' ? of.name : "") + std::string(fault.says));
        }
        for (int dim = 0; dim < 4; dim++) {
            if (of.tensor != &Arguments::q) {  // whose shape the others follow
                expect(
                    std::string(of.name) + " is longer",
                    [&](Arguments &a) {
                        (a.*of.tensor)->shape[dim] += 1,
                            (a.*of.tensor)->strides[2] = (a.*of.tensor)->strides[1] = (a.*of.tensor)->strides[0] = 0,
                            (a.*of.tensor)->strides[3] = 0;
                    },
                    dim == 2 && of.tensor == &Arguments::k   ? MUATTN_INVALID_V
                    : dim == 3 && of.tensor == &Arguments::v ? MUATTN_INVALID_OUT
                                                             : of.status,
                    "shape[");
            }
        }
        expect(
            std::string(of.name) + " is on another device", [&](Arguments &a) { (a.*of.tensor)->device = MUATTN_CUDA; },
            of.tensor == &Arguments::q ? MUATTN_INVALID_K : of.status, "device");
    }
}

TEST_F(SpatialBackwardErrors, MissingArguments) {
    for (const Tensors &of : kTensors) {
        const bool may_be_missing = of.tensor == &Arguments::d_lse || of.tensor == &Arguments::d_q ||
                                    of.tensor == &Arguments::d_k || of.tensor == &Arguments::d_v ||
                                    of.tensor == &Arguments::d_mask;
        if (!may_be_missing) {
            expect(
                std::string(of.name) + " is null", [&](Arguments &a) { (a.*of.tensor).reset(); }, of.status, of.name);
        }
    }
    expect(
        "no gradients", [](Arguments &a) { a.with_gradients = false; }, MUATTN_INVALID_GRADIENTS, "gradients");
}

TEST_F(SpatialBackwardErrors, GradientsOfWhatIsNotThere) {
    expect(
        "no mask", [](Arguments &a) { a.mask.reset(); }, MUATTN_INVALID_D_MASK, "d_mask must be null");
    float d_sink[4];
    expect(
        "no sink", [&](Arguments &a) { a.d_sink = d_sink; }, MUATTN_INVALID_D_SINK, "d_sink must be null");
    const float zero = 0;
    float d_output_multiplier = 7;
    expect(
        "the multiplier is 0",
        [&](Arguments &a) {
            a.options.output_multiplier = &zero;
            a.d_output_multiplier = &d_output_multiplier;
        },
        MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier must not be 0");
    EXPECT_EQ(d_output_multiplier, 7);
    std::vector<uint8_t> bytes(size_t(c.B * c.H * c.n_q * c.n_k), 1);
    expect(
        "a boolean mask",
        [&](Arguments &a) {
            a.mask = muattn_tensor{bytes.data(), MUATTN_BOOL, MUATTN_CPU, {c.B, c.H, c.n_q, c.n_k}, {}, 0};
        },
        MUATTN_INVALID_D_MASK, "d_mask must be null");
}

TEST_F(SpatialBackwardErrors, Overlaps) {
    expect(
        "d_q is q", [](Arguments &a) { a.d_q = a.q; }, MUATTN_INVALID_D_Q, "d_q must not overlap q");
    expect(
        "d_v is d_k",
        [](Arguments &a) {
            a.d_k = a.d_v;
            a.d_k->shape[3] = 4;
        },
        MUATTN_INVALID_D_V, "d_v must not overlap d_k");
    expect(
        "d_mask is mask", [](Arguments &a) { a.d_mask = a.mask; }, MUATTN_INVALID_D_MASK,
        "d_mask must not overlap mask");
    expect(
        "d_k repeats", [](Arguments &a) { a.d_k->strides[1] = 0; }, MUATTN_INVALID_D_K, "must not share");
}

TEST_F(SpatialBackwardErrors, OptionsOfTheForwardCall) {
    expect(
        "causal", [](Arguments &a) { a.options.causal = unknown_value<muattn_causal>(); }, MUATTN_INVALID_CAUSAL,
        "causal");
    expect(
        "softcap", [](Arguments &a) { a.options.softcap = -1; }, MUATTN_INVALID_SOFTCAP, "softcap");
    expect(
        "scaling", [](Arguments &a) { a.options.scaling = MUATTN_SCALING_MUP_MEAN; }, MUATTN_INVALID_SCALING,
        "scaling");
}

}  // namespace
}  // namespace muattn::test
