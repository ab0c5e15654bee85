// Channel attention's halves and gradients: every rule of muattn.h broken in turn. The status and the message name the argument, nothing
// is written, and the next good call works. The check function of the whole says the same as that.
#include <cstddef>
#include <functional>
#include <optional>

#include "support/backends.h"
#include "support/channel_gradients.h"
#include "support/faults.h"

namespace muattn::test {
namespace {

// The arguments of all five functions, as views; reset() gives a null pointer.
struct Arguments {
    using View = std::optional<muattn_tensor>;
    View q, k, v, out, d_out, map, q_squares, k_squares, attention_map, d_attention_map, d_q, d_k, d_v;
    float *d_scale = nullptr, *d_output_multiplier = nullptr;
    bool gradients_given = true;
    muattn_channel_options options{};

    static const muattn_tensor *pointer(const View &view) { return view ? &*view : nullptr; }

    muattn_status map_status() const {
        return muattn_channel_map(pointer(q), pointer(k), &options, pointer(map), pointer(q_squares),
                                  pointer(k_squares));
    }
    muattn_status apply_status() const {
        return muattn_channel_apply(pointer(map), pointer(q_squares), pointer(k_squares), pointer(v), &options,
                                    pointer(out), pointer(attention_map));
    }
    muattn_status backward_status() const { return backward(muattn_channel_attention_backward); }
    muattn_status check_status() const { return backward(muattn_channel_attention_backward_check); }
    muattn_status backward(decltype(&muattn_channel_attention_backward) function) const {
        const muattn_channel_gradients gradients{pointer(d_q), pointer(d_k), pointer(d_v), d_scale,
                                                 d_output_multiplier};
        return function(pointer(q), pointer(k), pointer(v), pointer(d_out), pointer(attention_map), &options,
                        gradients_given ? &gradients : nullptr);
    }
    muattn_status apply_backward_status() const {
        return muattn_channel_apply_backward(pointer(map), pointer(q_squares), pointer(k_squares), pointer(v),
                                             pointer(d_out), &options, pointer(d_attention_map), pointer(d_v));
    }
    muattn_status map_backward_status() const {
        const muattn_channel_gradients gradients{pointer(d_q), pointer(d_k), pointer(d_v), d_scale,
                                                 d_output_multiplier};
        return muattn_channel_map_backward(pointer(q), pointer(k), pointer(map), pointer(q_squares), pointer(k_squares),
                                           pointer(d_attention_map), &options, gradients_given ? &gradients : nullptr);
    }
};

using Function = muattn_status (Arguments::*)() const;

struct Part {
    const char *name;
    Arguments::View Arguments::*tensor;
    muattn_status status;
    bool optional = false;
    bool squares = false;
};

const Part kQ{"q", &Arguments::q, MUATTN_INVALID_Q}, kK{"k", &Arguments::k, MUATTN_INVALID_K},
    kV{"v", &Arguments::v, MUATTN_INVALID_V}, kOut{"out", &Arguments::out, MUATTN_INVALID_OUT},
    kDOut{"d_out", &Arguments::d_out, MUATTN_INVALID_D_OUT}, kMap{"map", &Arguments::map, MUATTN_INVALID_MAP},
    kQSquares{"q_squares", &Arguments::q_squares, MUATTN_INVALID_MAP, false, true},
    kKSquares{"k_squares", &Arguments::k_squares, MUATTN_INVALID_MAP, false, true},
    kAttentionMap{"attention_map", &Arguments::attention_map, MUATTN_INVALID_MAP, true},
    kDMap{"d_attention_map", &Arguments::d_attention_map, MUATTN_INVALID_D_MAP},
    kDMapIfWanted{"d_attention_map", &Arguments::d_attention_map, MUATTN_INVALID_D_MAP, true},
    kDQ{"d_q", &Arguments::d_q, MUATTN_INVALID_D_Q, true}, kDK{"d_k", &Arguments::d_k, MUATTN_INVALID_D_K, true},
    kDV{"d_v", &Arguments::d_v, MUATTN_INVALID_D_V, true};

struct Called {
    const char *name;
    Function function;
    std::vector<Part> inputs, outputs;
    bool scaled;     // takes scale, multiplier and tokens
    bool gradients;  // takes muattn_channel_gradients
};

const std::vector<Called> kFunctions{
    {"map", &Arguments::map_status, {kQ, kK}, {kMap, kQSquares, kKSquares}, false, false},
    {"apply", &Arguments::apply_status, {kMap, kQSquares, kKSquares, kV}, {kOut, kAttentionMap}, true, false},
    {"backward", &Arguments::backward_status, {kQ, kK, kV, kDOut, kAttentionMap}, {kDQ, kDK, kDV}, true, true},
    {"apply_backward",
     &Arguments::apply_backward_status,
     {kMap, kQSquares, kKSquares, kV, kDOut},
     {kDMapIfWanted, kDV},
     true,
     false},
    {"map_backward",
     &Arguments::map_backward_status,
     {kQ, kK, kMap, kQSquares, kKSquares, kDMap},
     {kDQ, kDK},
     true,
     true}};

class ChannelBackwardErrors : public WithSettings {
protected:
    ChannelBackwardErrors() {
        c.B = 2, c.H = 3, c.n = 5, c.d = 4;
        c.layout = token_major();
        t = make_tensors(c);
        EXPECT_EQ(run_halves(c, t), MUATTN_OK);  // maps that are numbers
        t.d_attention_map.fill(1);
        t.q_squares.fill(1);
        t.k_squares.fill(1);
    }

    Arguments good(const Called &called, bool normalize) const {
        Arguments a;
        a.q = t.forward.q.view(), a.k = t.forward.k.view(), a.v = t.forward.v.view(), a.out = t.forward.out.view();
        a.d_out = t.d_out.view(), a.map = t.map.view(), a.d_attention_map = t.d_attention_map.view();
        a.d_q = t.d_q.view(), a.d_k = t.d_k.view(), a.d_v = t.d_v.view();
        a.d_scale = t.d_scale->data(), a.d_output_multiplier = t.d_output_multiplier->data();
        a.attention_map = t.attention_map.view();
        if (called.function == &Arguments::map_backward_status) {
            a.d_v.reset();
        }
        a.options.normalize = normalize;
        if (normalize) {
            a.q_squares = t.q_squares.view(), a.k_squares = t.k_squares.view();
            if (called.function == &Arguments::backward_status) {
                a.attention_map.reset();
            }
        }
        return a;
    }

    void expect(const Called &called, bool normalize, const std::string &fault,
                const std::function<void(Arguments &)> &damage, muattn_status status, const std::string &says) {
        SCOPED_TRACE(std::string(called.name) + ": " + fault);
        Arguments a = good(called, normalize);
        std::vector<WriteWatch> watches;
        for (const Tensor *tensor : {&t.forward.out, &t.map, &t.q_squares, &t.k_squares, &t.attention_map,
                                     &t.d_attention_map, &t.d_q, &t.d_k, &t.d_v}) {
            watches.emplace_back(*tensor);
        }
        const std::vector<float> numbers = *t.d_scale;
        const bool is_checked = called.function == &Arguments::backward_status;
        if (is_checked) {
            EXPECT_EQ(a.check_status(), MUATTN_OK) << muattn_last_error();
        }
        damage(a);
        if (is_checked) {
            const auto checked = refusal_of([&] { return a.check_status(); });
            EXPECT_EQ(checked, refusal_of([&] { return a.backward_status(); }));
        }
        const muattn_status got = (a.*called.function)();
        EXPECT_EQ(got, status) << muattn_status_name(got) << ": " << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_error()).find(says), std::string::npos)
            << "expected '" << says << "' in '" << muattn_last_error() << "'";
        for (const WriteWatch &watch : watches) {
            EXPECT_EQ(watch.changes(), 0) << "written in spite of an error";
        }
        EXPECT_EQ(memcmp(numbers.data(), t.d_scale->data(), numbers.size() * sizeof(float)), 0);
        ASSERT_EQ((good(called, normalize).*called.function)(), MUATTN_OK) << muattn_last_error();
    }

    ChannelGradientCase c;
    ChannelGradientTensors t;
};

TEST_F(ChannelBackwardErrors, FaultsOfATensor) {
    for (const Called &called : kFunctions) {
        std::vector<Part> parts = called.inputs;
        parts.insert(parts.end(), called.outputs.begin(), called.outputs.end());
        for (const Part &part : parts) {
            const bool normalize = part.squares;
            std::vector<TensorFault> faults = tensor_faults();
            if (!part.squares) {
                for (const TensorFault &fault : inner_stride_faults()) {
                    faults.push_back(fault);
                }
            }
            for (const TensorFault &fault : faults) {
                expect(
                    called, normalize, fault.name, [&](Arguments &a) { fault.damage(*(a.*part.tensor)); }, part.status,
                    std::string(part.name) + (fault.says[0] == '.' ? fault.says : ""));
            }
            if (!part.optional) {
                expect(
                    called, normalize, "null", [&](Arguments &a) { (a.*part.tensor).reset(); }, part.status, part.name);
            }
        }
    }
}

TEST_F(ChannelBackwardErrors, SizesThatDiffer) {
    for (const Called &called : kFunctions) {
        std::vector<Part> parts = called.inputs;
        parts.insert(parts.end(), called.outputs.begin(), called.outputs.end());
        for (const Part &part : parts) {
            // The first tensor of tokens says what sizes are.
            if (part.tensor == &Arguments::q ||
                (part.tensor == &Arguments::v && called.inputs[0].tensor != &Arguments::q)) {
                continue;
            }
            for (int dim = 0; dim < 4; dim++) {
                if (part.squares && dim == 3) {
                    continue;  // 1, which cannot be less
                }
                expect(
                    called, part.squares, "size " + std::to_string(dim),
                    [&](Arguments &a) { (*(a.*part.tensor)).shape[dim]--; }, part.status,
                    std::string(part.name) + ".shape[" + std::to_string(dim) + "]");
            }
        }
    }
}

TEST_F(ChannelBackwardErrors, OutputsThatOverlap) {
    for (const Called &called : kFunctions) {
        for (size_t o = 0; o < called.outputs.size(); o++) {
            const Part &output = called.outputs[o];
            std::vector<Part> others = called.inputs;
            others.insert(others.end(), called.outputs.begin(), called.outputs.begin() + std::ptrdiff_t(o));
            for (const Part &other : others) {
                const bool normalize = output.squares || other.squares;
                if (normalize && called.function == &Arguments::backward_status) {
                    continue;
                }
                expect(
                    called, normalize, std::string(output.name) + " at " + other.name,
                    [&](Arguments &a) { (*(a.*output.tensor)).data = (*(a.*other.tensor)).data; }, output.status,
                    "overlap");
            }
            if (!output.squares) {
                expect(
                    called, false, "elements that are one", [&](Arguments &a) { (*(a.*output.tensor)).strides[2] = 0; },
                    output.status, std::string(output.name) + ".strides");
            }
        }
    }
}

TEST_F(ChannelBackwardErrors, Options) {
    const float too_large = 1.01e25f, nan = std::numeric_limits<float>::quiet_NaN(), small = 0.9e-34f;
    for (const Called &called : kFunctions) {
        expect(
            called, false, "layout", [](Arguments &a) { a.options.layout = unknown_value<muattn_layout>(); },
            MUATTN_INVALID_LAYOUT, "layout");
        if (!called.scaled) {
            continue;
        }
        expect(
            called, false, "tokens", [](Arguments &a) { a.options.tokens = -1; }, MUATTN_INVALID_TOKENS, "tokens");
        expect(
            called, false, "scale", [&](Arguments &a) { a.options.scale = &nan, a.options.scale_count = 1; },
            MUATTN_INVALID_SCALE, "scale");
        expect(
            called, false, "scale_count", [&](Arguments &a) { a.options.scale = &small, a.options.scale_count = 2; },
            MUATTN_INVALID_SCALE, "scale_count");
        expect(
            called, true, "scale", [&](Arguments &a) { a.options.scale = &too_large, a.options.scale_count = 1; },
            MUATTN_INVALID_SCALE, "1e+25");
        expect(
            called, false, "output_multiplier", [&](Arguments &a) { a.options.output_multiplier = &small; },
            MUATTN_INVALID_OUTPUT_MULTIPLIER, "output_multiplier");
        expect(
            called, false, "scaling", [](Arguments &a) { a.options.scaling = MUATTN_SCALING_MUP; },
            MUATTN_INVALID_SCALING, "d_base");
    }
}

TEST_F(ChannelBackwardErrors, Norms) {
    for (const Called &called : kFunctions) {
        for (const Part &part : {kQSquares, kKSquares}) {
            if (called.function != &Arguments::backward_status) {
                const muattn_tensor squares = t.q_squares.view();
                expect(
                    called, false, "squares without norms", [&](Arguments &a) { a.*part.tensor = squares; },
                    MUATTN_INVALID_MAP, part.name);
            }
        }
    }
    const muattn_tensor attention_map = t.attention_map.view();
    expect(
        kFunctions[2], true, "attention_map with norms", [&](Arguments &a) { a.attention_map = attention_map; },
        MUATTN_INVALID_MAP, "muattn_channel_map_backward");
}

TEST_F(ChannelBackwardErrors, Gradients) {
    for (const Called &called : kFunctions) {
        if (called.gradients) {
            expect(
                called, false, "no gradients", [](Arguments &a) { a.gradients_given = false; },
                MUATTN_INVALID_GRADIENTS, "gradients");
        }
    }
    const muattn_tensor d_v = t.d_v.view();
    expect(
        kFunctions[4], false, "d_v", [&](Arguments &a) { a.d_v = d_v; }, MUATTN_INVALID_D_V,
        "muattn_channel_apply_backward");
}

TEST_F(ChannelBackwardErrors, Devices) {
    for (const Called &called : kFunctions) {
        std::vector<Part> parts = called.inputs;
        parts.insert(parts.end(), called.outputs.begin(), called.outputs.end());
        Arguments a = good(called, false);
        for (const Part &part : parts) {
            if (a.*part.tensor) {
                (*(a.*part.tensor)).device = MUATTN_CUDA;
            }
        }
        const muattn_status status = (a.*called.function)();
        EXPECT_TRUE(status == MUATTN_UNSUPPORTED || status == MUATTN_INVALID_BACKEND)
            << called.name << muattn_last_error();
        const Part &last = parts.back();
        if (!last.squares) {
            expect(
                called, false, "one on another device", [&](Arguments &b) { (*(b.*last.tensor)).device = MUATTN_CUDA; },
                last.status, std::string(last.name) + ".device");
        }
    }
}

}  // namespace
}  // namespace muattn::test
