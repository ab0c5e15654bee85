// muattn attend spatial.
#include <memory>
#include <muattn/muattn.hpp>

#include "attend.h"
#include "npy.h"
#include "results.h"

namespace muattn::cli {
namespace {

struct SpatialCall : AttendCall {
    std::string causal = "none", window, mask, key_lengths, sink, k_scale, v_scale, lse, d_lse, d_mask, d_sink;
    float softcap = 0;
    double power = 0;  // not given
};

void check_batch(const char *option, const std::vector<int64_t> &numbers, int64_t batch) {
    if (int64_t(numbers.size()) != batch) {
        fail("{}: needs B = {} numbers, not {}", option, batch, numbers.size());
    }
}

// What a call takes, and what its options point to.
struct Inputs {
    explicit Inputs(const SpatialCall &call);
    Inputs(const Inputs &) = delete;
    Inputs &operator=(const Inputs &) = delete;

    std::vector<size_t> q_shape() const { return sizes(q, 4); }
    std::vector<size_t> lse_shape() const { return sizes(q, 3); }
    std::vector<size_t> out_shape() const {
        std::vector<size_t> shape = lse_shape();
        shape.push_back(size_t(v.shape[3]));
        return shape;
    }
    static std::vector<size_t> sizes(const Array &array, int rank) { return {array.shape, array.shape + rank}; }

    Array q, k, v, mask, k_scale, v_scale;
    SpatialOptions options{};

private:
    std::vector<int64_t> offsets_, key_lengths_;
    std::vector<float> scale_, sink_;
    muattn_tensor mask_tensor_{}, k_scale_tensor_{}, v_scale_tensor_{};
};

Inputs::Inputs(const SpatialCall &call) {
    set_causal(options, offsets_, "--causal", call.causal);
    set_window(options, "--window", call.window);
    options.softcap = call.softcap;
    options.power = call.power;
    key_lengths_ = integer_list("--key-lengths", call.key_lengths);

    q = load(call, "--q", call.q);
    k = load(call, "--k", call.k, Holds::Cache), v = load(call, "--v", call.v, Holds::Cache);
    set_scaling(options, scale_, call, q.shape[1]);
    if (!key_lengths_.empty()) {
        check_batch("--key-lengths", key_lengths_, q.shape[0]);
        options.key_lengths = key_lengths_.data();
    }
    sink_ = float_list("--sink", call.sink);
    if (!sink_.empty()) {
        if (int64_t(sink_.size()) != q.shape[1]) {
            fail("--sink: needs H = {} numbers, not {}", q.shape[1], sink_.size());
        }
        options.sink = sink_.data();
    }
    if (options.causal_offsets != nullptr) {
        check_batch("--causal", offsets_, q.shape[0]);
    }
    if (!call.mask.empty()) {
        mask = load_npy("--mask", call.mask, Holds::Mask);
        mask_tensor_ = mask.tensor();
        options.mask = &mask_tensor_;
    }
    if (!call.k_scale.empty()) {
        k_scale = load_npy("--k-scale", call.k_scale, Holds::Rows);
        k_scale_tensor_ = k_scale.tensor();
        options.k_scale = &k_scale_tensor_;
    }
    if (!call.v_scale.empty()) {
        v_scale = load_npy("--v-scale", call.v_scale, Holds::Rows);
        v_scale_tensor_ = v_scale.tensor();
        options.v_scale = &v_scale_tensor_;
    }
}

void attend(const SpatialCall &call) {
    const Inputs in(call);
    Results results;
    const muattn_tensor &out = *results.add("--out", call.out, in.out_shape(), in.q.dtype);
    const muattn_tensor *lse = results.add("--lse", call.lse, in.lse_shape());
    const muattn_tensor *stats = results.add("--stats", call.stats, stats_shape(in.q.shape));
    const muattn_tensor q = in.q.tensor(), k = in.k.tensor(), v = in.v.tensor();
    check(muattn_spatial_attention_forward(&q, &k, &v, &in.options, &out, lse));
    if (stats != nullptr) {
        spatial_logit_stats(q, k, *stats, in.options);
    }
    results.write();
}

void attend_backward(const SpatialCall &call) {
    check_needed("--lse", call.lse);
    check_needed("--d-out", call.d_out);
    const Inputs in(call);
    if (!call.d_mask.empty() && (in.options.mask == nullptr || in.mask.dtype == MUATTN_BOOL)) {
        fail("--d-mask: needs a --mask of float32");
    }
    if (!call.d_sink.empty() && in.options.sink == nullptr) {
        fail("--d-sink: needs --sink");
    }
    const Array out = load(call, "--out", call.out), lse = load_npy("--lse", call.lse, Holds::Rows),
                d_out = load(call, "--d-out", call.d_out);
    Array d_lse_file;
    if (!call.d_lse.empty()) {
        d_lse_file = load_npy("--d-lse", call.d_lse, Holds::Rows);
    }

    const size_t heads = size_t(in.q.shape[1]);
    Results results;
    muattn_spatial_gradients gradients{};
    gradients.d_q = results.add("--d-q", call.d_q, in.q_shape(), in.q.dtype);
    gradients.d_k = results.add("--d-k", call.d_k, Inputs::sizes(in.k, 4), in.k.dtype);
    gradients.d_v = results.add("--d-v", call.d_v, Inputs::sizes(in.v, 4), in.v.dtype);
    gradients.d_scale = results.add_numbers("--d-scale", call.d_scale, heads);
    gradients.d_mask = results.add("--d-mask", call.d_mask, Inputs::sizes(in.mask, 4));
    gradients.d_sink = results.add_numbers("--d-sink", call.d_sink, heads);
    gradients.d_output_multiplier = results.add_numbers("--d-output-multiplier", call.d_output_multiplier, 1);
    if (results.none()) {
        fail("--backward needs one of --d-q, --d-k, --d-v, --d-scale, --d-mask, --d-sink, --d-output-multiplier");
    }
    const muattn_tensor d_lse = d_lse_file.tensor();
    spatial_attention_backward(in.q.tensor(), in.k.tensor(), in.v.tensor(), out.tensor(), lse.tensor(), d_out.tensor(),
                               gradients, in.options, call.d_lse.empty() ? nullptr : &d_lse);
    results.write();
}

}  // namespace

void add_attend_spatial(CLI::App &attend_verb) {
    auto &verb = *attend_verb.add_subcommand("spatial", "out = o softmax(s Q K^T) V per head, softmax over the keys");
    const auto call = std::make_shared<SpatialCall>();
    add_inputs(verb, *call, "[B, H, n_q, d]", "[B, Hk, n_k, d]; H is a multiple of Hk", "[B, Hk, n_k, d_v]");
    verb.add_option("--out", call->out, "to be written, with --backward read: [B, H, n_q, d_v]")->required();
    add_scaling(verb, *call, kSpatialScalings, "head dimension of the muP base model; without it mup means s = 1/d");
    verb.add_option("--power", call->power, "p of mup's s = sqrt(d_base)/d^p; default: 1")->check(above_0);
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
    verb.add_option("--k-scale", call->k_scale, "[B, Hk, n_k]: what each row of an int8 k is multiplied with");
    verb.add_option("--v-scale", call->v_scale, "[B, Hk, n_k]: the same for v");
    verb.add_option("--lse", call->lse,
                    "to be written, with --backward read: [B, H, n_q], log(sum_j exp(logit)), natural logarithm");
    add_stats(verb, *call);
    add_gradients(verb, *call,
                  "gradients instead, of a loss: --out and --lse are read, as a call with the same options wrote them",
                  "[B, H, n_q, d_v]: the loss's gradient by out");
    add_gradient(verb, "--d-lse", call->d_lse, "[B, H, n_q]: its gradient by lse; default: 0");
    add_gradient(verb, "--d-mask", call->d_mask, "to be written: by a --mask of float32, in its shape");
    add_gradient(verb, "--d-sink", call->d_sink, "to be written: [H], by --sink");
    call->machine.add_to(verb);
    refuse_empty(verb);
    verb.footer("A query that sees no key has output 0 and lse -inf, or its head's sink.");
    verb.callback([call] {
        call->machine.apply();
        call->backward ? attend_backward(*call) : attend(*call);
    });
}

}  // namespace muattn::cli
