#include "problems.h"

#include <algorithm>
#include <random>

using nlohmann::json;

Floats random_floats(int64_t count) {
    static std::minstd_rand engine(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Floats x(static_cast<size_t>(count));
    std::generate(x.begin(), x.end(), [&] { return uniform(engine); });
    return x;
}

Floats room_for(const Floats &x) { return Floats(x.size()); }

double float_bytes(std::initializer_list<const Floats *> tensors) {
    double bytes = 0;
    for (const Floats *x : tensors) {
        bytes += double(x->size() * sizeof(float));
    }
    return bytes;
}

Mask::Mask(const std::string &kind, int64_t B, int64_t H, int64_t n_q, int64_t n_k) {
    if (kind == "additive") {
        bias = random_floats(H * n_q * n_k);
        tensor = muattn::tensor(bias.data(), {1, H, n_q, n_k});
    } else if (kind == "bool") {
        for (int64_t x = 0; x < B * n_k; x++) {
            allowed.push_back(x % n_k < n_k - n_k / 5);
        }
        tensor = muattn::tensor(nullptr, {B, 1, 1, n_k});
        tensor.data = allowed.data();
        tensor.dtype = MUATTN_BOOL;
    }
}

SpatialProblem::SpatialProblem(const json &shape)
    : B(shape["B"]),
      H(shape["H"]),
      Hk(shape.value("Hk", H)),
      n_q(shape["nq"]),
      n_k(shape.value("nk", n_q)),
      d(shape["d"]),
      d_v(shape.value("dv", d)),
      mask(shape.value("mask", ""), B, H, n_q, n_k) {
    if (shape.value("causal", false)) {
        options.causal = MUATTN_CAUSAL_TOP_LEFT;
    }
    options.window = {shape.contains("window"), shape.value("window", n_k), 0};
    options.softcap = shape.value("softcap", 0.0f);
    options.mask = mask.get();
    q = random_floats(B * H * n_q * d);
    k = random_floats(B * Hk * n_k * d), v = random_floats(B * Hk * n_k * d_v);
    out.resize(static_cast<size_t>(B * H * n_q * d_v));
}

double SpatialProblem::pairs() const {
    double of_a_head = 0;
    for (int64_t i = 0; i < n_q; i++) {
        const int64_t first = std::max<int64_t>(0, i - options.window.left), last = std::min(n_k, i + 1);
        of_a_head += double(options.causal == MUATTN_CAUSAL_NONE ? n_k : last - first);
    }
    return double(B * H) * of_a_head;
}

ChannelProblem::ChannelProblem(const json &shape)
    : B(shape["B"]),
      H(shape["H"]),
      n(shape["n"]),
      d(shape["d"]),
      q(random_floats(B * H * n * d)),
      k(random_floats(B * H * n * d)),
      v(random_floats(B * H * n * d)),
      out(room_for(q)) {
    options.layout = shape.value("layout", "") == "channels_first" ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
    options.normalize = shape.value("normalize", false);
    options.scale = options.normalize ? &temperature : nullptr;
    options.scale_count = 1;
}

muattn_tensor ChannelProblem::like(const Floats &x) const {
    const bool first = options.layout == MUATTN_CHANNELS_FIRST;
    return muattn::tensor(x.data(), first ? muattn::Shape{B, H, d, n} : muattn::Shape{B, H, n, d});
}
