#include "options.h"

#include "arrays.h"
#include "system/floating_point.h"

namespace muattn::python {
namespace {

// Rounded to nearest, whatever mode the calling thread is in.
[[gnu::noinline]] std::vector<float> to_floats(const Numbers &numbers) {
    const DefaultFloatingPoint mode;
    std::vector<float> floats;
    for (const double &x : numbers) {
        floats.push_back(float(x));
    }
    return floats;
}

std::vector<float> scale_of(const std::optional<Numbers> &scale, int64_t heads) {
    if (!scale) {
        return {};
    }
    if (scale->size() != 1 && int64_t(scale->size()) != heads) {
        raise(PyExc_ValueError, "the numbers in scale must be 1 or the number of heads (" + std::to_string(heads) +
                                    "), not " + std::to_string(scale->size()));
    }
    return to_floats(*scale);
}

// option points to kept, if one is given.
void set_multiplier(const float *&option, float &kept, const std::optional<double> &given) {
    if (given) {
        kept = to_floats({*given})[0];
        option = &kept;
    }
}

// of: what there is one number for, e.g. "batch entry".
template<typename T>
const T *check_count(const char *name, const std::optional<std::vector<T>> &numbers, const char *of, int64_t count) {
    if (!numbers) {
        return nullptr;
    }
    if (int64_t(numbers->size()) != count) {
        raise(PyExc_ValueError, std::string(name) + " must have one entry per " + of + ": " + std::to_string(count) +
                                    ", not " + std::to_string(numbers->size()));
    }
    return numbers->data();
}

}  // namespace

SpatialOptions::SpatialOptions(const SpatialSettings &settings, int64_t batch, int64_t heads) {
    const auto &[scaling, d_base, scale, causal, causal_offset, causal_offsets, window, key_lengths, softcap, sink,
                 alpha, power, output_multiplier] = settings;
    options.scaling = muattn_scaling(scaling);
    options.d_base = d_base;
    options.alpha = alpha;
    options.power = power;
    scale_ = scale_of(scale, heads);
    options.scale = scale ? scale_.data() : nullptr;
    options.scale_count = int64_t(scale_.size());
    set_multiplier(options.output_multiplier, multiplier_, output_multiplier);
    options.causal = muattn_causal(causal);
    options.causal_offset = causal_offset;
    options.key_lengths = check_count("key_lengths", key_lengths, "batch entry", batch);
    options.causal_offsets = check_count("causal", causal_offsets, "batch entry", batch);
    if (window) {
        options.window = {1, window->first, window->second};
    }
    options.softcap = to_floats({softcap})[0];
    if (check_count("sink", sink, "head", heads) != nullptr) {
        sink_ = to_floats(*sink);
        options.sink = sink_.data();
    }
}

ChannelOptions::ChannelOptions(const ChannelSettings &settings, int64_t heads) {
    const auto &[scaling, d_base, scale, output_multiplier, normalize, layout, tokens, alpha] = settings;
    options.scaling = muattn_scaling(scaling);
    options.d_base = d_base;
    options.alpha = alpha;
    scale_ = scale_of(scale, heads);
    options.scale = scale ? scale_.data() : nullptr;
    options.scale_count = int64_t(scale_.size());
    set_multiplier(options.output_multiplier, multiplier_, output_multiplier);
    options.normalize = normalize;
    options.layout = muattn_layout(layout);
    options.tokens = tokens;
}

}  // namespace muattn::python
