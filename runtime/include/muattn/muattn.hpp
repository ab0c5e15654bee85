// muattn for C++17: the functions of muattn.h. Errors are exceptions, and tensors are made from pointers.
// muattn.h says what the arguments mean, with shapes and limits.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "muattn.h"

namespace muattn {

class Error : public std::runtime_error {
public:
    Error(muattn_status status, const char *message) : std::runtime_error(message), status_(status) {}
    muattn_status status() const noexcept { return status_; }

private:
    muattn_status status_;
};

// Throws Error unless status is MUATTN_OK.
inline void check(muattn_status status) {
    if (status != MUATTN_OK) {
        throw Error(status, muattn_last_error());
    }
}

using Shape = std::array<int64_t, 4>;

// A view of elements of any type, e.g. uint16_t that hold bfloat16; without strides it is dense and row-major. The
// library never writes to an input.
inline muattn_tensor tensor(const void *data, muattn_dtype dtype, const Shape &shape, const Shape &strides = {}) {
    muattn_tensor t{};
    t.data = const_cast<void *>(data);
    t.dtype = dtype;
    for (size_t i = 0; i < 4; i++) {
        t.shape[i] = shape[i];
        t.strides[i] = strides[i];
    }
    return t;
}

inline muattn_tensor tensor(const float *data, const Shape &shape, const Shape &strides = {}) {
    return tensor(data, MUATTN_FLOAT32, shape, strides);
}

using SpatialOptions = muattn_spatial_options;
using ChannelOptions = muattn_channel_options;
using SpatialGradients = muattn_spatial_gradients;
using ChannelGradients = muattn_channel_gradients;

inline void spatial_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const SpatialOptions &options = {}) {
    check(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, nullptr));
}

inline void spatial_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const muattn_tensor &lse, const SpatialOptions &options = {}) {
    check(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, &lse));
}

// d_lse null: 0.
inline void spatial_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                       const muattn_tensor &out, const muattn_tensor &lse, const muattn_tensor &d_out,
                                       const SpatialGradients &gradients, const SpatialOptions &options = {},
                                       const muattn_tensor *d_lse = nullptr) {
    check(muattn_spatial_attention_backward(&q, &k, &v, &out, &lse, &d_out, d_lse, &options, &gradients));
}

// Merges two results over disjoint sets of keys.
inline void merge(const muattn_tensor &out_a, const muattn_tensor &lse_a, const muattn_tensor &out_b,
                  const muattn_tensor &lse_b, const muattn_tensor &out, const muattn_tensor &lse) {
    check(muattn_merge(&out_a, &lse_a, &out_b, &lse_b, &out, &lse));
}

inline void channel_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                              const muattn_tensor &out, const ChannelOptions &options = {}) {
    check(muattn_channel_attention_forward(&q, &k, &v, &options, &out));
}

// The squares of channels, with normalize, else not.
struct ChannelSquares {
    const muattn_tensor *q = nullptr, *k = nullptr;
};

inline void channel_map(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &map,
                        const ChannelOptions &options = {}, const ChannelSquares &squares = {}) {
    check(muattn_channel_map(&q, &k, &options, &map, squares.q, squares.k));
}

// attention_map null: not wanted.
inline void channel_apply(const muattn_tensor &map, const muattn_tensor &v, const muattn_tensor &out,
                          const ChannelOptions &options = {}, const ChannelSquares &squares = {},
                          const muattn_tensor *attention_map = nullptr) {
    check(muattn_channel_apply(&map, squares.q, squares.k, &v, &options, &out, attention_map));
}

// stats: [B, H, 1, 4].
inline void spatial_logit_stats(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &stats,
                                const SpatialOptions &options = {}) {
    check(muattn_spatial_logit_stats(&q, &k, &options, &stats));
}

inline void channel_logit_stats(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &stats,
                                const ChannelOptions &options = {}) {
    check(muattn_channel_logit_stats(&q, &k, &options, &stats));
}

// attention_map null: it is computed again.
inline void channel_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                       const muattn_tensor &d_out, const ChannelGradients &gradients,
                                       const ChannelOptions &options = {},
                                       const muattn_tensor *attention_map = nullptr) {
    check(muattn_channel_attention_backward(&q, &k, &v, &d_out, attention_map, &options, &gradients));
}

// d_attention_map, d_v null: not wanted.
inline void channel_apply_backward(const muattn_tensor &map, const muattn_tensor &v, const muattn_tensor &d_out,
                                   const muattn_tensor *d_attention_map, const muattn_tensor *d_v,
                                   const ChannelOptions &options = {}, const ChannelSquares &squares = {}) {
    check(muattn_channel_apply_backward(&map, squares.q, squares.k, &v, &d_out, &options, d_attention_map, d_v));
}

inline void channel_apply_backward(const muattn_tensor &map, const muattn_tensor &v, const muattn_tensor &d_out,
                                   const muattn_tensor &d_attention_map, const muattn_tensor *d_v,
                                   const ChannelOptions &options = {}, const ChannelSquares &squares = {}) {
    channel_apply_backward(map, v, d_out, &d_attention_map, d_v, options, squares);
}

inline void channel_map_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &map,
                                 const muattn_tensor &d_attention_map, const ChannelGradients &gradients,
                                 const ChannelOptions &options = {}, const ChannelSquares &squares = {}) {
    check(muattn_channel_map_backward(&q, &k, &map, squares.q, squares.k, &d_attention_map, &options, &gradients));
}

// Throw what the call of the same name throws for a wrong argument; nothing is read or written.
inline void check_spatial_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                    const muattn_tensor &out, const SpatialOptions &options = {}) {
    check(muattn_spatial_attention_forward_check(&q, &k, &v, &options, &out, nullptr));
}

inline void check_spatial_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                    const muattn_tensor &out, const muattn_tensor &lse,
                                    const SpatialOptions &options = {}) {
    check(muattn_spatial_attention_forward_check(&q, &k, &v, &options, &out, &lse));
}

inline void check_spatial_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                             const muattn_tensor &out, const muattn_tensor &lse,
                                             const muattn_tensor &d_out, const SpatialGradients &gradients,
                                             const SpatialOptions &options = {}, const muattn_tensor *d_lse = nullptr) {
    check(muattn_spatial_attention_backward_check(&q, &k, &v, &out, &lse, &d_out, d_lse, &options, &gradients));
}

inline void check_channel_attention(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                    const muattn_tensor &out, const ChannelOptions &options = {}) {
    check(muattn_channel_attention_forward_check(&q, &k, &v, &options, &out));
}

inline void check_channel_attention_backward(const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                                             const muattn_tensor &d_out, const ChannelGradients &gradients,
                                             const ChannelOptions &options = {},
                                             const muattn_tensor *attention_map = nullptr) {
    check(muattn_channel_attention_backward_check(&q, &k, &v, &d_out, attention_map, &options, &gradients));
}

// One of both is float32; the shapes are the same.
inline void convert(const muattn_tensor &from, const muattn_tensor &to) { check(muattn_convert(&from, &to)); }

// d_base 0: not given.
inline double spatial_scale(muattn_scaling scaling, int64_t d, int64_t d_base = 0) {
    double scale = 0;
    check(muattn_spatial_scale(scaling, d, d_base, &scale));
    return scale;
}

// What the rule gives a call with these options.
struct SpatialRule {
    double scale, output_multiplier;
};

inline SpatialRule spatial_rule(const SpatialOptions &options, int64_t d, int64_t n_k) {
    SpatialRule rule{};
    check(muattn_spatial_rule(&options, d, n_k, &rule.scale, &rule.output_multiplier));
    return rule;
}

inline double channel_scale(muattn_scaling scaling, int64_t n) {
    double scale = 0;
    check(muattn_channel_scale(scaling, n, &scale));
    return scale;
}

inline double channel_output_multiplier(muattn_scaling scaling, int64_t d, int64_t d_base = 0) {
    double multiplier = 0;
    check(muattn_channel_output_multiplier(scaling, d, d_base, &multiplier));
    return multiplier;
}

struct Backend {
    std::string name;
    bool available;
};

inline std::vector<Backend> backends() {
    std::vector<Backend> all;
    for (int i = 0; i < muattn_backend_count(); i++) {
        all.push_back({muattn_backend_name(i), muattn_backend_available(i) != 0});
    }
    return all;
}

// With an empty name, the best available backend again.
inline void force_backend(const std::string &name) {
    check(muattn_force_backend(name.empty() ? nullptr : name.c_str()));
}

inline void set_num_threads(int n) { check(muattn_set_num_threads(n)); }
inline void use_openmp(const char *library = nullptr) { check(muattn_use_openmp(library)); }

}  // namespace muattn
