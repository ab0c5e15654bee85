// Times both operators on the shapes of shapes.json, with one thread and with all. GFLOP/s count the two matrix
// products, over the keys that a query sees; softmax is not counted.
#include <benchmark/benchmark.h>
#include <muattn/muattn.hpp>

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

namespace {

using nlohmann::json;
using Floats = std::vector<float>;

Floats random_floats(int64_t count) {
    static std::minstd_rand engine(1);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    Floats x(static_cast<size_t>(count));
    std::generate(x.begin(), x.end(), [&] { return uniform(engine); });
    return x;
}

// "additive": a bias per head that hides nothing, as Swin's. "bool": the keys of each batch entry, the last fifth hidden, as
// padding is. Shapes [1, H, n_q, n_k] and [B, 1, 1, n_k].
struct Mask {
    Floats bias;
    std::vector<uint8_t> allowed;
    muattn_tensor tensor{};

    Mask(const std::string &kind, int64_t B, int64_t H, int64_t n_q, int64_t n_k) {
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
    const muattn_tensor *get() const { return tensor.data != nullptr ? &tensor : nullptr; }
};

// Runs call() until the benchmark library has seen enough, and reports the GFLOP/s and the kernel.
template<typename Call>
void measure(benchmark::State &state, int threads, double flops, const Call &call) {
    const int threads_before = muattn_get_num_threads();
    muattn::set_num_threads(threads);
    try {
        call();
        state.SetLabel(muattn_last_kernel());
        for ([[maybe_unused]] auto iteration : state) {
            call();
        }
    } catch (const muattn::Error &error) {
        state.SkipWithError(error.what());
    }
    muattn::set_num_threads(threads_before);
    state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

void bench_spatial(benchmark::State &state, const json &shape, int threads) {
    const int64_t B = shape["B"], H = shape["H"], Hk = shape.value("Hk", H);
    const int64_t n_q = shape["nq"], n_k = shape.value("nk", n_q), d = shape["d"], d_v = shape.value("dv", d);
    const int64_t window = shape.value("window", n_k);

    muattn::SpatialOptions options{};
    if (shape.value("causal", false)) {
        options.causal = MUATTN_CAUSAL_TOP_LEFT;
    }
    options.window = {shape.contains("window"), window, 0};
    const Mask mask(shape.value("mask", ""), B, H, n_q, n_k);
    options.mask = mask.get();
    double pairs = 0;  // of a query and a key that it sees
    for (int64_t i = 0; i < n_q; i++) {
        const int64_t first = std::max<int64_t>(0, i - window), last = std::min(n_k, i + 1);
        pairs += double(options.causal == MUATTN_CAUSAL_NONE ? n_k : last - first);
    }

    const Floats q = random_floats(B * H * n_q * d);
    const Floats k = random_floats(B * Hk * n_k * d), v = random_floats(B * Hk * n_k * d_v);
    Floats out(static_cast<size_t>(B * H * n_q * d_v));
    measure(state, threads, 2.0 * double(B * H * (d + d_v)) * pairs, [&] {
        muattn::spatial_attention(muattn::tensor(q.data(), {B, H, n_q, d}), muattn::tensor(k.data(), {B, Hk, n_k, d}),
                                  muattn::tensor(v.data(), {B, Hk, n_k, d_v}),
                                  muattn::tensor(out.data(), {B, H, n_q, d_v}), options);
    });
}

void bench_channel(benchmark::State &state, const json &shape, int threads) {
    const int64_t B = shape["B"], H = shape["H"], n = shape["n"], d = shape["d"];
    const Floats q = random_floats(B * H * n * d), k = random_floats(B * H * n * d), v = random_floats(B * H * n * d);
    Floats out(q.size());
    const bool first = shape.value("layout", "") == "channels_first";
    auto tensor = [&](const Floats &x) {
        return muattn::tensor(x.data(), first ? muattn::Shape{B, H, d, n} : muattn::Shape{B, H, n, d});
    };
    muattn::ChannelOptions options{};
    options.layout = first ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
    options.normalize = shape.value("normalize", false);
    const float temperature = 8;
    options.scale = options.normalize ? &temperature : nullptr;
    options.scale_count = 1;
    measure(state, threads, 4.0 * double(B * H * n * d * d),
            [&] { muattn::channel_attention(tensor(q), tensor(k), tensor(v), tensor(out), options); });
}

using Bench = void (*)(benchmark::State &, const json &, int);

void register_shapes(const char *operation, Bench bench, const json &shapes) {
    for (const json &shape : shapes) {
        const std::string name = std::string(operation) + "/" + shape["name"].get<std::string>();
        std::vector<int> thread_counts{1};
        if (muattn_get_num_threads() > 1) {
            thread_counts.push_back(muattn_get_num_threads());
        }
        for (int threads : thread_counts) {
            const std::string full_name = name + "/" + std::to_string(threads) + "_threads";
            benchmark::RegisterBenchmark(full_name.c_str(), bench, shape, threads)
                ->UseRealTime()
                ->Unit(benchmark::kMillisecond);
        }
    }
}

}  // namespace

int main(int argc, char **argv) {
    const json shapes = json::parse(std::ifstream(MUATTN_SHAPES));
    register_shapes("spatial", bench_spatial, shapes["spatial"]);
    register_shapes("channel", bench_channel, shapes["channel"]);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
        return 1;
    }
    benchmark::RunSpecifiedBenchmarks();
}
