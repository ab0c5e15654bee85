// muattn attend channel.
#include <memory>
#include <muattn/muattn.hpp>
#include <optional>

#include "attend.h"
#include "npy.h"
#include "results.h"

namespace muattn::cli {
namespace {

struct ChannelCall : AttendCall {
    std::optional<float> output_multiplier;
    bool normalize = false;
    std::string layout = "channels_last";
};

void attend(const ChannelCall &call) {
    ChannelOptions options{};
    options.output_multiplier = call.output_multiplier ? &*call.output_multiplier : nullptr;
    options.normalize = call.normalize;
    options.layout = layout_value("--layout", call.layout);

    const Array q = load_npy("--q", call.q), k = load_npy("--k", call.k), v = load_npy("--v", call.v);
    std::vector<float> scale;
    set_scaling(options, scale, call, q.shape[1]);
    Results results;
    const muattn_tensor &out = *results.add("--out", call.out, {q.shape, q.shape + 4});
    channel_attention(q.tensor(), k.tensor(), v.tensor(), out, options);
    results.write();
}

}  // namespace

void add_attend_channel(CLI::App &attend_verb) {
    auto &verb =
        *attend_verb.add_subcommand("channel", "out = o (softmax(s Q^T K) V^T)^T per head, a d x d map over channels");
    const auto call = std::make_shared<ChannelCall>();
    add_inputs(verb, *call, "[B, H, n, d], or [B, H, d, n] where channels come first", "the same shape",
               "the same shape");
    verb.add_option("--out", call->out, "to be written: the same shape")->required();
    add_scaling(verb, *call, kChannelScalings, "head dimension of the muP base model; mup needs it: o = d_base/d");
    verb.add_option("--output-multiplier", call->output_multiplier, "o itself, instead of the rule's");
    verb.add_flag(
        "--normalize", call->normalize,
        "divide each channel of Q and K by its L2 norm over tokens first (XCiT, Restormer); then give --scale");
    verb.add_option("--layout", call->layout, "order of all arrays; default: channels_last")
        ->check(CLI::IsMember(kLayouts));
    call->machine.add_to(verb);
    refuse_empty(verb);
    verb.callback([call] {
        call->machine.apply();
        attend(*call);
    });
}

}  // namespace muattn::cli
