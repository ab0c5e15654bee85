// muattn attend channel.
#include <memory>
#include <muattn/muattn.hpp>

#include "attend.h"
#include "npy.h"
#include "results.h"

namespace muattn::cli {
namespace {

struct ChannelCall : AttendCall {
    bool normalize = false;
    std::string layout = "channels_last", map;
};

// What a call takes, and what its options point to.
struct Inputs {
    explicit Inputs(const ChannelCall &call) {
        options.normalize = call.normalize;
        options.layout = layout_value("--layout", call.layout);
        q = load(call, "--q", call.q), k = load(call, "--k", call.k), v = load(call, "--v", call.v);
        set_scaling(options, scale_, call, q.shape[1]);
    }
    Inputs(const Inputs &) = delete;
    Inputs &operator=(const Inputs &) = delete;

    static std::vector<size_t> sizes(const Array &array) { return {array.shape, array.shape + 4}; }
    size_t channels() const { return size_t(q.shape[options.layout == MUATTN_CHANNELS_FIRST ? 2 : 3]); }
    std::vector<size_t> map_sizes() const { return {size_t(q.shape[0]), size_t(q.shape[1]), channels(), channels()}; }

    Array q, k, v;
    ChannelOptions options{};

private:
    std::vector<float> scale_;
};

// Through the halves of channel attention, as the whole does not give the map.
void attend_with_map(const Inputs &in, const muattn_tensor &out, const muattn_tensor &attention_map) {
    for (int dim = 0; dim < 4; dim++) {  // neither half sees both
        if (in.v.shape[dim] != in.q.shape[dim]) {
            fail("v.shape[{}] must equal q's: {}, not {}", dim, in.q.shape[dim], in.v.shape[dim]);
        }
    }
    const int64_t *size = attention_map.shape;
    std::vector<float> sums(size_t(size[0] * size[1] * size[2] * size[3])),
        squares(size_t(2 * size[0] * size[1] * size[2]));
    const Shape of_squares = {size[0], size[1], size[2], 1};
    const muattn_tensor map = tensor(sums.data(), {size[0], size[1], size[2], size[3]}),
                        q_squares = tensor(squares.data(), of_squares),
                        k_squares = tensor(squares.data() + squares.size() / 2, of_squares);
    ChannelSquares of_call;
    if (in.options.normalize) {
        of_call = {&q_squares, &k_squares};
    }
    channel_map(in.q.tensor(), in.k.tensor(), map, in.options, of_call);
    channel_apply(map, in.v.tensor(), out, in.options, of_call, &attention_map);
}

void attend(const ChannelCall &call) {
    if (call.out.empty()) {
        fail("--out is required (--help shows the options)");
    }
    const Inputs in(call);
    Results results;
    const muattn_tensor &out = *results.add("--out", call.out, Inputs::sizes(in.q), in.q.dtype);
    const muattn_tensor *map = results.add("--map", call.map, in.map_sizes());
    const muattn_tensor *stats = results.add("--stats", call.stats, stats_shape(in.q.shape));
    if (map != nullptr) {
        attend_with_map(in, out, *map);
    } else {
        channel_attention(in.q.tensor(), in.k.tensor(), in.v.tensor(), out, in.options);
    }
    if (stats != nullptr) {
        channel_logit_stats(in.q.tensor(), in.k.tensor(), *stats, in.options);
    }
    results.write();
}

void attend_backward(const ChannelCall &call) {
    check_needed("--d-out", call.d_out);
    if (!call.out.empty()) {
        fail("--out: not with --backward: gradients of channel attention do not need it");
    }
    if (!call.map.empty() && call.normalize) {
        fail("--map: not with --backward and --normalize: the map before its softmax is needed then");
    }
    const Inputs in(call);
    const Array d_out = load(call, "--d-out", call.d_out);
    muattn_tensor map{};
    Array map_file;
    if (!call.map.empty()) {
        map_file = load_npy("--map", call.map, Holds::Matrices);
        map = map_file.tensor();
    }
    Results results;
    ChannelGradients gradients{};
    gradients.d_q = results.add("--d-q", call.d_q, Inputs::sizes(in.q), in.q.dtype);
    gradients.d_k = results.add("--d-k", call.d_k, Inputs::sizes(in.k), in.k.dtype);
    gradients.d_v = results.add("--d-v", call.d_v, Inputs::sizes(in.v), in.v.dtype);
    gradients.d_scale = results.add_numbers("--d-scale", call.d_scale, size_t(in.q.shape[1]));
    gradients.d_output_multiplier = results.add_numbers("--d-output-multiplier", call.d_output_multiplier, 1);
    if (results.none()) {
        fail("--backward needs one of --d-q, --d-k, --d-v, --d-scale, --d-output-multiplier");
    }
    channel_attention_backward(in.q.tensor(), in.k.tensor(), in.v.tensor(), d_out.tensor(), gradients, in.options,
                               call.map.empty() ? nullptr : &map);
    results.write();
}

}  // namespace

void add_attend_channel(CLI::App &attend_verb) {
    auto &verb =
        *attend_verb.add_subcommand("channel", "out = o (softmax(s Q^T K) V^T)^T per head, a d x d map over channels");
    const auto call = std::make_shared<ChannelCall>();
    add_inputs(verb, *call, "[B, H, n, d], or [B, H, d, n] where channels come first", "the same shape",
               "the same shape");
    verb.add_option("--out", call->out, "to be written: the same shape; needed without --backward");
    add_scaling(verb, *call, kChannelScalings, "head dimension of the muP base model; mup needs it: o = d_base/d");
    verb.add_flag(
        "--normalize", call->normalize,
        "divide each channel of Q and K by its L2 norm over tokens first (XCiT, Restormer); then give --scale");
    verb.add_option("--layout", call->layout, "order of all arrays; default: channels_last")
        ->check(CLI::IsMember(kLayouts));
    verb.add_option("--map", call->map,
                    "to be written, with --backward read, which saves it a product: [B, H, d, d], softmax(s Q^T K)");
    add_stats(verb, *call);
    add_gradients(verb, *call, "gradients instead, of a loss", "the same shape as q: the loss's gradient by out");
    call->machine.add_to(verb);
    refuse_empty(verb);
    verb.callback([call] {
        call->machine.apply();
        call->backward ? attend_backward(*call) : attend(*call);
    });
}

}  // namespace muattn::cli
