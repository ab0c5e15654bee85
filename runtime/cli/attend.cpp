// muattn attend: a call of the library on .npy files.
#include <cmath>
#include <memory>
#include <muattn/muattn.hpp>
#include <optional>

#include "machine_options.h"
#include "npy.h"
#include "usage_error.h"
#include "values.h"
#include "verbs.h"

namespace muattn::cli {
namespace {

// What both operators take.
struct Call {
    std::string q, k, v, out, scaling = "sp", scale;
    int64_t d_base = 0;
    MachineOptions machine;
};

struct SpatialCall : Call {
    std::string causal = "none", window, mask, key_lengths, sink, lse;
    float softcap = 0;
};

struct ChannelCall : Call {
    std::optional<float> output_multiplier;
    bool normalize = false;
    std::string layout = "channels_last";
};

void add_files(CLI::App &verb, Call &call, const char *q, const char *k, const char *v, const char *out) {
    verb.add_option("--q", call.q, q)->required();
    verb.add_option("--k", call.k, k)->required();
    verb.add_option("--v", call.v, v)->required();
    verb.add_option("--out", call.out, out)->required();
}

void add_scaling(CLI::App &verb, Call &call, const std::vector<std::string> &rules, const char *about_d_base) {
    verb.add_option("--scaling", call.scaling, "scaling rule; `muattn scale` explains them; default: sp")
        ->check(CLI::IsMember(rules));
    verb.add_option("--d-base", call.d_base, about_d_base);
    verb.add_option("--scale", call.scale, "s itself, instead of the rule's: a number, or H numbers a,b,...");
}

// A result of the library's: its shape is known to be valid only when the library has seen it, its size must fit before.
std::vector<float> result(const std::vector<size_t> &shape) {
    size_t count = 1;
    for (const size_t size : shape) {
        if (__builtin_mul_overflow(count, size, &count) || count > (size_t(1) << 31)) {
            fail("--out: more than 2^31 elements");
        }
    }
    return std::vector<float>(count);
}

muattn_tensor tensor_of(std::vector<float> &data, const std::vector<size_t> &shape) {
    Shape sizes = {1, 1, 1, 1};
    std::copy(shape.begin(), shape.end(), sizes.begin());
    return tensor(data.data(), sizes);
}

// What both operators take; numbers holds what options.scale points to.
template<typename Options>
void set_scaling(Options &options, std::vector<float> &numbers, const Call &call, int64_t heads) {
    options.scaling = scaling_value("--scaling", call.scaling);
    options.d_base = call.d_base;
    numbers = float_list("--scale", call.scale);
    if (numbers.size() > 1 && int64_t(numbers.size()) != heads) {
        fail("--scale: needs 1 number, or one for each of H = {} heads, not {}", heads, numbers.size());
    }
    options.scale = numbers.empty() ? nullptr : numbers.data();
    options.scale_count = int64_t(numbers.size());
}

void check_batch(const char *option, const std::vector<int64_t> &numbers, int64_t batch) {
    if (int64_t(numbers.size()) != batch) {
        fail("{}: needs B = {} numbers, not {}", option, batch, numbers.size());
    }
}

void attend_spatial(const SpatialCall &call) {
    call.machine.apply();
    SpatialOptions options{};
    std::vector<int64_t> offsets;
    set_causal(options, offsets, "--causal", call.causal);
    set_window(options, "--window", call.window);
    options.softcap = call.softcap;
    const auto key_lengths = integer_list("--key-lengths", call.key_lengths);

    const Array q = load_npy("--q", call.q), k = load_npy("--k", call.k), v = load_npy("--v", call.v);
    std::vector<float> scale;
    set_scaling(options, scale, call, q.shape[1]);
    if (!key_lengths.empty()) {
        check_batch("--key-lengths", key_lengths, q.shape[0]);
        options.key_lengths = key_lengths.data();
    }
    const std::vector<float> sink = float_list("--sink", call.sink);
    if (!sink.empty()) {
        if (int64_t(sink.size()) != q.shape[1]) {
            fail("--sink: needs H = {} numbers, not {}", q.shape[1], sink.size());
        }
        options.sink = sink.data();
    }
    if (options.causal_offsets != nullptr) {
        check_batch("--causal", offsets, q.shape[0]);
    }
    Array mask;
    muattn_tensor mask_tensor;
    if (!call.mask.empty()) {
        mask = load_npy("--mask", call.mask, Holds::Mask);
        mask_tensor = mask.tensor();
        options.mask = &mask_tensor;
    }

    const std::vector<size_t> lse_shape(q.shape, q.shape + 3);
    std::vector<size_t> out_shape = lse_shape;
    out_shape.push_back(size_t(v.shape[3]));
    NpyOutput out_file("--out", call.out);
    std::unique_ptr<NpyOutput> lse_file;
    if (!call.lse.empty()) {
        lse_file = std::make_unique<NpyOutput>("--lse", call.lse);
        if (lse_file->target() == out_file.target()) {
            fail("--lse and --out name the same file");
        }
    }
    std::vector<float> out = result(out_shape);
    if (lse_file) {
        std::vector<float> lse = result(lse_shape);
        spatial_attention(q.tensor(), k.tensor(), v.tensor(), tensor_of(out, out_shape), tensor_of(lse, lse_shape),
                          options);
        lse_file->write(lse, lse_shape);
    } else {
        spatial_attention(q.tensor(), k.tensor(), v.tensor(), tensor_of(out, out_shape), options);
    }
    out_file.write(out, out_shape);
    out_file.commit();
    if (lse_file) {
        lse_file->commit();
    }
}

void attend_channel(const ChannelCall &call) {
    call.machine.apply();
    ChannelOptions options{};
    options.output_multiplier = call.output_multiplier ? &*call.output_multiplier : nullptr;
    options.normalize = call.normalize;
    options.layout = layout_value("--layout", call.layout);

    const Array q = load_npy("--q", call.q), k = load_npy("--k", call.k), v = load_npy("--v", call.v);
    std::vector<float> scale;
    set_scaling(options, scale, call, q.shape[1]);
    const std::vector<size_t> out_shape(q.shape, q.shape + 4);
    NpyOutput out_file("--out", call.out);
    std::vector<float> out = result(out_shape);
    channel_attention(q.tensor(), k.tensor(), v.tensor(), tensor_of(out, out_shape), options);
    out_file.write(out, out_shape);
    out_file.commit();
}

// A value that is not there, as of an unset variable, is no value.
void refuse_empty(CLI::App &verb) {
    for (CLI::Option *option : verb.get_options()) {
        option->check([](const std::string &value) { return value.empty() ? std::string("is empty") : std::string(); });
    }
}

void add_spatial(CLI::App &attend) {
    auto &verb = *attend.add_subcommand("spatial", "out = softmax(s Q K^T) V per head, softmax over the keys");
    const auto call = std::make_shared<SpatialCall>();
    add_files(verb, *call, "[B, H, n_q, d]", "[B, Hk, n_k, d]; H is a multiple of Hk", "[B, Hk, n_k, d_v]",
              "to be written: [B, H, n_q, d_v]");
    add_scaling(verb, *call, kSpatialScalings, "head dimension of the muP base model; without it mup means s = 1/d");
    verb.add_option("--causal", call->causal,
                    "none, top_left (key j is visible to query i if j <= i), bottom_right (j <= i + n_k - n_q, with "
                    "--key-lengths j <= i + length - n_q) or an integer o (j <= i + o), or B of them a,b,...");
    verb.add_option("--window", call->window, "L,R: i + o - L <= j <= i + o + R; an empty side is open, e.g. 128,");
    verb.add_option("--mask", call->mask,
                    "[B, H, n_q, n_k], each full or 1; bool: true shows the key; float32: added to the logit");
    verb.add_option("--key-lengths", call->key_lengths, "B integers a,b,...: keys from there on do not exist");
    verb.add_option("--softcap", call->softcap, "c: logit -> c tanh(logit / c), before any mask; default: none");
    verb.add_option("--sink", call->sink,
                    "H numbers a,b,...: for each head a logit without a value, in the sum of its softmax");
    verb.add_option("--lse", call->lse, "to be written: [B, H, n_q], log(sum_j exp(logit)), natural logarithm");
    call->machine.add_to(verb);
    refuse_empty(verb);
    verb.footer("A query that sees no key has output 0 and lse -inf, or its head's sink.");
    verb.callback([call] { attend_spatial(*call); });
}

void add_channel(CLI::App &attend) {
    auto &verb =
        *attend.add_subcommand("channel", "out = o (softmax(s Q^T K) V^T)^T per head, a d x d map over channels");
    const auto call = std::make_shared<ChannelCall>();
    add_files(verb, *call, "[B, H, n, d], or [B, H, d, n] where channels come first", "the same shape",
              "the same shape", "to be written: the same shape");
    add_scaling(verb, *call, kChannelScalings, "head dimension of the muP base model; mup needs it: o = d_base/d");
    verb.add_option("--output-multiplier", call->output_multiplier, "o itself, instead of the rule's");
    verb.add_flag(
        "--normalize", call->normalize,
        "divide each channel of Q and K by its L2 norm over tokens first (XCiT, Restormer); then give --scale");
    verb.add_option("--layout", call->layout, "order of all arrays; default: channels_last")
        ->check(CLI::IsMember(kLayouts));
    call->machine.add_to(verb);
    refuse_empty(verb);
    verb.callback([call] { attend_channel(*call); });
}

}  // namespace

void add_attend(CLI::App &app) {
    auto &attend = *app.add_subcommand("attend", "attention of three .npy files, to a fourth");
    attend.require_subcommand(1);
    add_spatial(attend);
    add_channel(attend);
}

}  // namespace muattn::cli
