// The shapes of shapes.json as tensors and options of a call.
#pragma once

#include <muattn/muattn.hpp>

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

using Floats = std::vector<float>;

Floats random_floats(int64_t count);
Floats room_for(const Floats &x);

double float_bytes(std::initializer_list<const Floats *> tensors);

// "additive": a bias per head that hides nothing, as Swin's. "bool": the keys of each batch entry, the last fifth hidden, as
// padding is. Shapes [1, H, n_q, n_k] and [B, 1, 1, n_k].
struct Mask {
    Floats bias;
    std::vector<uint8_t> allowed;
    muattn_tensor tensor{};

    Mask(const std::string &kind, int64_t B, int64_t H, int64_t n_q, int64_t n_k);
    const muattn_tensor *get() const { return tensor.data != nullptr ? &tensor : nullptr; }
    double bytes() const { return double(bias.size() * sizeof(float) + allowed.size()); }
};

struct SpatialProblem {
    int64_t B, H, Hk, n_q, n_k, d, d_v;
    Mask mask;
    muattn::SpatialOptions options{};
    Floats q, k, v, out;

    explicit SpatialProblem(const nlohmann::json &shape);
    SpatialProblem(const SpatialProblem &) = delete;  // options points at mask

    double pairs() const;  // of a query and a key that causal and window let it see, over all heads

    muattn_tensor q_like(const Floats &x) const { return muattn::tensor(x.data(), {B, H, n_q, d}); }
    muattn_tensor k_like(const Floats &x) const { return muattn::tensor(x.data(), {B, Hk, n_k, d}); }
    muattn_tensor v_like(const Floats &x) const { return muattn::tensor(x.data(), {B, Hk, n_k, d_v}); }
    muattn_tensor out_like(const Floats &x) const { return muattn::tensor(x.data(), {B, H, n_q, d_v}); }
};

struct ChannelProblem {
    int64_t B, H, n, d;
    float temperature = 8;
    muattn::ChannelOptions options{};
    Floats q, k, v, out;

    explicit ChannelProblem(const nlohmann::json &shape);
    ChannelProblem(const ChannelProblem &) = delete;  // options points at temperature

    muattn_tensor like(const Floats &x) const;
};
