// A plain C++ program: both operators, and an error as an exception.
#include <muattn/muattn.hpp>

#include <cmath>
#include <cstdio>
#include <vector>

int main() {
    // Keys alike for the only query, channels alike for every token: means of the values.
    const std::vector<float> zeros(4, 0.0f), v{1, 10, 3, 30};
    std::vector<float> out(4);
    auto tensor = [](const std::vector<float> &x, int64_t n, int64_t d) {
        return muattn::tensor(x.data(), {1, 1, n, d});
    };

    muattn::spatial_attention(tensor(zeros, 1, 2), tensor(zeros, 2, 2), tensor(v, 2, 2), tensor(out, 1, 2));
    bool right = std::fabs(out[0] - 2) < 1e-5f && std::fabs(out[1] - 20) < 1e-4f;

    muattn::ChannelOptions options{};
    options.scaling = MUATTN_SCALING_MUP;
    options.d_base = 1;  // o = d_base / d = 1/2
    muattn::channel_attention(tensor(zeros, 2, 2), tensor(zeros, 2, 2), tensor(v, 2, 2), tensor(out, 2, 2), options);
    const float expected[] = {2.75f, 2.75f, 8.25f, 8.25f};
    for (int i = 0; i < 4; i++) {
        right = right && std::fabs(out[i] - expected[i]) < 1e-5f;
    }

    try {
        muattn::spatial_attention(tensor(zeros, 1, 2), tensor(zeros, 2, 1), tensor(v, 2, 2), tensor(out, 1, 2));
        right = false;
    } catch (const muattn::Error &error) {
        right = right && error.status() == MUATTN_INVALID_K;
    }
    puts(right ? "C++ program: right" : "C++ program: wrong");
    return right ? 0 : 1;
}
