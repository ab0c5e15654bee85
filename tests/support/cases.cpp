#include "support/cases.h"

#include <algorithm>
#include <limits>
#include <ostream>
#include <string>
#include <utility>

#include "reference/channel_forward.h"
#include "reference/spatial_forward.h"
#include "support/backends.h"
#include "support/compare.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

template<typename T>
void print_list(std::ostream &out, const char *name, const std::vector<T> &list) {
    if (!list.empty()) {
        out << " " << name << "={";
        for (size_t i = 0; i < list.size(); i++) {
            out << (i == 0 ? "" : ",") << list[i];
        }
        out << "}";
    }
}

const char *name_of(muattn_scaling scaling) {
    static constexpr const char *kNames[] = {"sp", "mup", "mup_heads", "mup_mean", "umup"};
    return kNames[scaling];
}

template<typename T>
const T *data_or_null(const std::vector<T> &list) {
    return list.empty() ? nullptr : list.data();
}

}  // namespace

void SpatialTensors::move_mask(Memory::Place place) {
    mask_memory = std::make_shared<Memory>((mask_bytes.size() + sizeof(float) - 1) / sizeof(float), place);
    std::copy(mask_bytes.begin(), mask_bytes.end(), mask_data());
}

uint8_t *SpatialTensors::mask_data() const {
    if (mask_memory == nullptr) {
        return const_cast<uint8_t *>(mask_bytes.data());
    }
    const bool at_end = mask_memory->place() == Memory::Place::before_forbidden_page;
    return at_end ? reinterpret_cast<uint8_t *>(mask_memory->end()) - mask_bytes.size()
                  : reinterpret_cast<uint8_t *>(mask_memory->begin());
}

muattn_spatial_options options_with_mask(const SpatialCase &c, const SpatialTensors &t, muattn_tensor &mask) {
    muattn_spatial_options o = c.options();
    if (c.mask == SpatialCase::no_mask) {
        return o;
    }
    mask = t.mask.view();
    if (c.mask == SpatialCase::boolean) {
        mask.data = t.mask_data();
        mask.dtype = MUATTN_BOOL;
        std::fill(std::begin(mask.strides), std::end(mask.strides), 0);
    }
    o.mask = &mask;
    return o;
}

void expect_current_backend_ran(std::initializer_list<const Tensor *> tensors) {
    const std::string family = std::string(muattn_current_backend()).substr(0, 7);
    const bool leaves_some = family == "cpu:sve" || family == "cpu:rvv";
    for (const Tensor *tensor : tensors) {
        const muattn_tensor view = tensor->view();
        if (leaves_some && *std::min_element(view.strides, view.strides + 4) < 0) {
            return;
        }
    }
    const std::string kernel = muattn_last_kernel(), backend = std::string("/") + muattn_current_backend();
    const bool same = kernel.size() > backend.size() && kernel.substr(kernel.size() - backend.size()) == backend;
    EXPECT_TRUE(same) << kernel << " ran, with the backend " << backend.substr(1) << " forced";
}

muattn_spatial_options SpatialCase::options() const {
    muattn_spatial_options o = *this;
    o.scale = data_or_null(scale);
    o.scale_count = int64_t(scale.size());
    o.output_multiplier = data_or_null(output_multiplier);
    o.causal_offsets = data_or_null(causal_offsets);
    o.key_lengths = data_or_null(key_lengths);
    o.sink = data_or_null(sink);
    return o;
}

muattn_channel_options ChannelCase::options() const {
    muattn_channel_options o = *this;
    o.scale = data_or_null(scale);
    o.scale_count = int64_t(scale.size());
    o.output_multiplier = data_or_null(output_multiplier);
    o.layout = channels;
    return o;
}

std::ostream &operator<<(std::ostream &out, const SpatialCase &c) {
    out << "spatial on " << muattn_current_backend() << ": B=" << c.B << " H=" << c.H << " Hk=" << c.Hk
        << " n_q=" << c.n_q << " n_k=" << c.n_k << " d=" << c.d << " d_v=" << c.d_v << " scaling=" << name_of(c.scaling)
        << " alpha=" << c.alpha << " power=" << c.power;
    if (c.d_base != 0) {
        out << " d_base=" << c.d_base;
    }
    print_list(out, "scale", c.scale);
    print_list(out, "output_multiplier", c.output_multiplier);
    static constexpr const char *kCausal[] = {"none", "top_left", "bottom_right", "offset "};
    out << " causal=" << kCausal[c.causal];
    if (c.causal == MUATTN_CAUSAL_OFFSET && c.causal_offsets.empty()) {
        out << c.causal_offset;
    }
    print_list(out, "causal_offsets", c.causal_offsets);
    if (c.window.enabled) {
        out << " window=(" << c.window.left << "," << c.window.right << ")";
    }
    print_list(out, "key_lengths", c.key_lengths);
    print_list(out, "sink", c.sink);
    if (c.mask != SpatialCase::no_mask) {
        out << " mask=" << (c.mask == SpatialCase::boolean ? "boolean" : "additive") << "[" << c.mask_full[0]
            << c.mask_full[1] << c.mask_full[2] << c.mask_full[3] << "]";
    }
    return out << " softcap=" << c.softcap << " lse=" << c.lse << " layout=" << c.layout.name
               << " amplitude=" << c.amplitude;
}

std::ostream &operator<<(std::ostream &out, const ChannelCase &c) {
    out << "channel on " << muattn_current_backend() << ": B=" << c.B << " H=" << c.H << " n=" << c.n << " d=" << c.d
        << " scaling=" << name_of(c.scaling) << " alpha=" << c.alpha;
    if (c.d_base != 0) {
        out << " d_base=" << c.d_base;
    }
    print_list(out, "scale", c.scale);
    print_list(out, "output_multiplier", c.output_multiplier);
    return out << " normalize=" << c.normalize
               << " channels=" << (c.channels == MUATTN_CHANNELS_FIRST ? "first" : "last")
               << " layout=" << c.layout.name << " amplitude=" << c.amplitude;
}

SpatialTensors make_tensors(const SpatialCase &c) {
    SpatialTensors t;
    t.q = Tensor({c.B, c.H, c.n_q, c.d}, c.layout);
    t.k = Tensor({c.B, c.Hk, c.n_k, c.d}, c.layout);
    t.v = Tensor({c.B, c.Hk, c.n_k, c.d_v}, c.layout);
    t.out = Tensor({c.B, c.H, c.n_q, c.d_v}, for_output(c.layout));
    t.lse = Tensor({c.B, c.H, c.n_q, 1}, for_output(c.layout));
    t.q.fill_normal(1, c.amplitude);
    t.k.fill_normal(2, c.amplitude);
    t.v.fill_normal(3, c.amplitude);
    if (c.mask != SpatialCase::no_mask) {
        const Shape full{c.B, c.H, c.n_q, c.n_k};
        Shape shape{1, 1, 1, 1};
        for (size_t dim = 0; dim < 4; dim++) {
            shape[dim] = c.mask_full[dim] ? full[dim] : 1;
        }
        t.mask = Tensor(shape, for_output(c.layout));
        t.mask.fill_normal(4);
        // About a third of the keys is hidden.
        for (int64_t b = 0; b < shape[0]; b++) {
            for (int64_t h = 0; h < shape[1]; h++) {
                for (int64_t i = 0; i < shape[2]; i++) {
                    for (int64_t j = 0; j < shape[3]; j++) {
                        float &x = t.mask.at(b, h, i, j);
                        const bool hidden = x > 0.43f;
                        x = c.mask == SpatialCase::boolean ? (hidden ? 0.0f : 1.0f)
                                                           : (hidden ? -std::numeric_limits<float>::infinity() : x);
                    }
                }
            }
        }
        for (const float x : t.mask.elements()) {
            t.mask_bytes.push_back(x != 0);
        }
    }
    return t;
}

ChannelTensors make_tensors(const ChannelCase &c) {
    Shape shape{c.B, c.H, c.n, c.d};
    if (c.channels == MUATTN_CHANNELS_FIRST) {
        std::swap(shape[2], shape[3]);
    }
    ChannelTensors t{Tensor(shape, c.layout), Tensor(shape, c.layout), Tensor(shape, c.layout),
                     Tensor(shape, for_output(c.layout))};
    t.q.fill_normal(1, c.amplitude);
    t.k.fill_normal(2, c.amplitude);
    t.v.fill_normal(3, c.amplitude);
    return t;
}

muattn_status run(const SpatialCase &c, const SpatialTensors &t) {
    const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view(), lse = t.lse.view();
    muattn_tensor mask{};
    const muattn_spatial_options options = options_with_mask(c, t, mask);
    return muattn_spatial_attention_forward(&q, &k, &v, &options, &out, c.lse ? &lse : nullptr);
}

muattn_status run(const ChannelCase &c, const ChannelTensors &t) {
    const muattn_tensor q = t.q.view(), k = t.k.view(), v = t.v.view(), out = t.out.view();
    const muattn_channel_options options = c.options();
    return muattn_channel_attention_forward(&q, &k, &v, &options, &out);
}

namespace {

// Runs the call, on a GPU only where that can. False: there is no result.
bool runs(const SpatialCase &c, const SpatialTensors &t, const WriteWatch &watch_out) {
    const bool on_gpu = is_gpu(muattn_current_backend());
    if (on_gpu && gpu_head_dim(std::max(c.d, c.d_v)) == 0) {
        EXPECT_EQ(run(c, t), MUATTN_UNSUPPORTED) << muattn_last_error();
        EXPECT_EQ(watch_out.changes(), 0) << "a call that is refused writes to out";
        return false;
    }
    muattn_status status = run(c, t);
    if (status == MUATTN_OK && std::string(muattn_last_kernel()).find("/few_keys") != std::string::npos) {
        // Lengths that hide nothing send the same call to the kernel for many keys.
        SpatialCase with_lengths = c;
        with_lengths.key_lengths.assign(size_t(c.B), c.n_k);
        expect_agrees(with_lengths, t);
        status = run(c, t);
    }
    EXPECT_EQ(status, MUATTN_OK) << muattn_last_error();
    expect_current_backend_ran({&t.q, &t.k, &t.v, &t.out, &t.lse, &t.mask});
    return status == MUATTN_OK;
}

}  // namespace

void expect_agrees(const SpatialCase &c, const SpatialTensors &t, const Instead &instead) {
    SCOPED_TRACE(testing::PrintToString(c));
    const int64_t head_dim = is_gpu(muattn_current_backend()) ? gpu_head_dim(std::max(c.d, c.d_v)) : 0;
    if (head_dim != 0 && !gpu_head_dim_is_wanted(head_dim)) {
        return;
    }
    const WriteWatch watch_q(t.q), watch_k(t.k), watch_v(t.v), watch_out(t.out), watch_lse(t.lse);
    // In a packed array the inputs share the output's memory, so the reference goes first.
    muattn_tensor mask{};
    const std::vector<reference::SpatialRow> rows =
        reference::spatial_attention_forward(t.q.view(), t.k.view(), t.v.view(), options_with_mask(c, t, mask));
    if (instead) {
        ASSERT_EQ(instead(), MUATTN_OK);
    } else if (!runs(c, t, watch_out)) {
        return;
    }

    auto row = [&](int64_t b, int64_t h, int64_t i) -> const reference::SpatialRow & {
        return rows[size_t((b * c.H + h) * c.n_q + i)];
    };
    EXPECT_TRUE(agrees(t.out, [&](int64_t b, int64_t h, int64_t i, int64_t e) {
        const reference::SpatialRow &r = row(b, h, i);
        return Expected{r.out[size_t(e)], allowed_output_error(r.logit_size, r.value_size, r.visible)};
    })) << "of out";
    EXPECT_EQ(watch_out.changes_outside(), 0) << "writes next to out's elements";
    if (c.lse) {
        EXPECT_TRUE(agrees(t.lse, [&](int64_t b, int64_t h, int64_t i, int64_t) {
            const reference::SpatialRow &r = row(b, h, i);
            return Expected{r.lse, allowed_lse_error(r.logit_size, r.visible)};
        })) << "of lse";
        EXPECT_EQ(watch_lse.changes_outside(), 0) << "writes next to lse's elements";
    }
    for (const WriteWatch *input : {&watch_q, &watch_k, &watch_v}) {
        if (&input->memory() != &t.out.memory()) {
            EXPECT_EQ(input->changes(), 0) << "writes to an input";
        }
    }
}

void expect_agrees(const ChannelCase &c, const ChannelTensors &t, const Instead &instead) {
    SCOPED_TRACE(testing::PrintToString(c));
    const WriteWatch watch_q(t.q), watch_k(t.k), watch_v(t.v), watch_out(t.out);
    const std::vector<reference::ChannelHead> heads =
        reference::channel_attention_forward(t.q.view(), t.k.view(), t.v.view(), c.options());
    if (instead) {
        ASSERT_EQ(instead(), MUATTN_OK);
    } else {
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        expect_current_backend_ran({&t.q, &t.k, &t.v, &t.out});
    }

    const Tensor tokens_by_channels = c.channels == MUATTN_CHANNELS_FIRST ? t.out.swapped() : t.out;
    EXPECT_TRUE(agrees(tokens_by_channels, [&](int64_t b, int64_t h, int64_t token, int64_t channel) {
        const reference::ChannelHead &head = heads[size_t(b * c.H + h)];
        const double logit_size = head.logit_size[size_t(channel)], value_size = head.value_size[size_t(token)];
        return Expected{head.out[size_t(token * c.d + channel)], allowed_output_error(logit_size, value_size, c.d)};
    })) << "of out";
    EXPECT_EQ(watch_out.changes_outside(), 0) << "writes next to out's elements";
    for (const WriteWatch *input : {&watch_q, &watch_k, &watch_v}) {
        if (&input->memory() != &t.out.memory()) {
            EXPECT_EQ(input->changes(), 0) << "writes to an input";
        }
    }
}

}  // namespace muattn::test
