// Which kernel the library takes for each call of a grid of shapes and options, against the record in tests/choices. A change of the
// choice is a change of the record: MUATTN_WRITE_CHOICES=1 writes it anew, of the backends that run here.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

class KernelChoice : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(KernelChoice);

struct SpatialOption {
    const char *name;
    void (*set)(SpatialCase &c);
    bool hidden_infinity = false;  // the last value is infinite; it counts where a query does not see it
};

const SpatialOption kSpatialOptions[] = {
    {"", [](SpatialCase &) {}},
    {"lse", [](SpatialCase &c) { c.lse = true; }},
    {"causal", [](SpatialCase &c) { c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT; }},
    {"causal hidden", [](SpatialCase &c) { c.causal = MUATTN_CAUSAL_TOP_LEFT; }, true},
    {"causal lse hidden", [](SpatialCase &c) { c.causal = MUATTN_CAUSAL_TOP_LEFT, c.lse = true; }, true},
    {"window",
     [](SpatialCase &c) {
         c.window = {1, 20, 0};
     }},
    {"key_lengths", [](SpatialCase &c) { c.key_lengths.assign(size_t(c.B), c.n_k - c.n_k / 3); }},
    {"key_lengths hidden", [](SpatialCase &c) { c.key_lengths.assign(size_t(c.B), c.n_k - c.n_k / 3); }, true},
    {"additive", [](SpatialCase &c) { c.mask = SpatialCase::additive; }},
    {"additive lse", [](SpatialCase &c) { c.mask = SpatialCase::additive, c.lse = true; }},
    {"boolean", [](SpatialCase &c) { c.mask = SpatialCase::boolean; }},
    {"boolean causal lse",
     [](SpatialCase &c) { c.mask = SpatialCase::boolean, c.causal = MUATTN_CAUSAL_TOP_LEFT, c.lse = true; }},
    {"boolean hidden", [](SpatialCase &c) { c.mask = SpatialCase::boolean, c.causal = MUATTN_CAUSAL_TOP_LEFT; }, true},
    {"softcap", [](SpatialCase &c) { c.softcap = 3; }},
    {"softcap lse", [](SpatialCase &c) { c.softcap = 3, c.lse = true; }},
    {"softcap additive", [](SpatialCase &c) { c.softcap = 3, c.mask = SpatialCase::additive; }},
    {"softcap boolean lse", [](SpatialCase &c) { c.softcap = 3, c.mask = SpatialCase::boolean, c.lse = true; }},
};

struct SpatialShape {
    int64_t B, H, Hk, n_q, n_k, d, d_v;
};
// Around the thresholds of runtime/src/spatial_attention/algorithms.cpp, and of the tiles.
constexpr SpatialShape kSpatialShapes[] = {
    {1, 1, 1, 1, 1, 4, 4},        {2, 2, 1, 1, 8, 8, 8},       {1, 2, 2, 3, 12, 16, 16},    {1, 2, 2, 4, 15, 16, 8},
    {1, 2, 2, 8, 33, 32, 32},     {1, 2, 2, 9, 36, 32, 32},    {1, 8, 2, 9, 47, 20, 24},    {2, 3, 3, 49, 49, 32, 32},
    {1, 2, 1, 40, 160, 64, 64},   {1, 2, 1, 8, 511, 64, 40},   {1, 2, 1, 8, 512, 64, 64},   {1, 2, 1, 8, 513, 64, 64},
    {1, 8, 2, 8, 600, 16, 16},    {1, 8, 2, 9, 600, 16, 16},   {1, 4, 4, 30, 700, 16, 16},  {1, 4, 4, 40, 700, 16, 16},
    {1, 2, 2, 64, 2048, 16, 16},  {2, 16, 4, 1, 4096, 8, 8},   {1, 1, 1, 511, 77, 40, 40},  {1, 1, 1, 512, 77, 40, 40},
    {1, 1, 1, 600, 77, 40, 40},   {1, 1, 1, 600, 65, 8, 8},    {1, 1, 1, 520, 512, 16, 16}, {1, 1, 1, 520, 513, 16, 16},
    {1, 2, 2, 100, 100, 128, 64}, {1, 1, 1, 20, 20, 256, 256}, {1, 1, 1, 20, 20, 300, 300},
};
// A device on the processor compiles a kernel for seconds.
constexpr SpatialShape kGpuSpatialShapes[] = {
    {1, 2, 2, 3, 12, 16, 16},   {1, 2, 1, 8, 511, 16, 16}, {1, 2, 1, 8, 512, 16, 16}, {1, 8, 2, 9, 600, 16, 16},
    {1, 4, 4, 33, 700, 16, 16}, {1, 2, 2, 50, 50, 32, 20}, {1, 1, 1, 4, 4, 300, 300},
};

std::string kernel_of(muattn_status status) {
    return status == MUATTN_OK ? muattn_last_kernel() : muattn_status_name(status);
}

void list_spatial(std::ostream &out, const SpatialShape &shape, const SpatialOption &option, bool negative_strides) {
    SpatialCase c;
    c.B = shape.B, c.H = shape.H, c.Hk = shape.Hk, c.n_q = shape.n_q, c.n_k = shape.n_k, c.d = shape.d,
    c.d_v = shape.d_v;
    c.lse = false;
    if (negative_strides) {
        c.layout = reversed();
    }
    option.set(c);
    const SpatialTensors t = make_tensors(c);
    if (option.hidden_infinity) {
        t.v.at(c.B - 1, c.Hk - 1, c.n_k - 1, 0) = std::numeric_limits<float>::infinity();
    }
    out << "spatial " << c.B << ' ' << c.H << ' ' << c.Hk << ' ' << c.n_q << ' ' << c.n_k << ' ' << c.d << ' ' << c.d_v
        << ' ' << option.name << (negative_strides ? " reversed" : "") << ": " << kernel_of(run(c, t)) << '\n';
}

void list_channel(std::ostream &out, int64_t n, int64_t d, bool normalize, muattn_layout layout,
                  bool negative_strides) {
    ChannelCase c;
    c.B = 1, c.H = 2, c.n = n, c.d = d, c.normalize = normalize, c.channels = layout;
    if (negative_strides) {
        c.layout = reversed();
    }
    const ChannelTensors t = make_tensors(c);
    out << "channel " << n << ' ' << d << (normalize ? " normalize" : "")
        << (layout == MUATTN_CHANNELS_FIRST ? " channels_first" : "") << (negative_strides ? " reversed" : "") << ": "
        << kernel_of(run(c, t)) << '\n';
}

void list_merge(std::ostream &out) {
    const Tensor a({1, 1, 2, 3}, dense()), lse({1, 1, 2, 1}, dense()), merged({1, 1, 2, 3}, dense()),
        sum({1, 1, 2, 1}, dense());
    a.fill_normal(1), lse.fill(0.5f);
    const muattn_tensor o = a.view(), l = lse.view(), m = merged.view(), s = sum.view();
    out << "merge: " << kernel_of(muattn_merge(&o, &l, &o, &l, &m, &s)) << '\n';
}

std::string choices(bool gpu) {
    std::ostringstream out;
    const auto spatial = [&](const SpatialShape &shape) {
        for (const SpatialOption &option : kSpatialOptions) {
            list_spatial(out, shape, option, false);
        }
    };
    if (gpu) {
        std::for_each(std::begin(kGpuSpatialShapes), std::end(kGpuSpatialShapes), spatial);
    } else {
        std::for_each(std::begin(kSpatialShapes), std::end(kSpatialShapes), spatial);
    }
    list_spatial(out, kSpatialShapes[2], kSpatialOptions[1], true);
    for (const muattn_layout layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (const bool normalize : {false, true}) {
            for (int64_t d = 1; d <= (gpu ? 1 : 130); d += d < 70 ? 1 : 9) {
                list_channel(out, 9, d, normalize, layout, false);
            }
        }
        list_channel(out, 9, 17, false, layout, true);
    }
    list_merge(out);
    return out.str();
}

TEST_P(KernelChoice, IsThatOfTheRecord) {
    const bool gpu = is_gpu(GetParam());
    const std::string path = std::string(MUATTN_CHOICES) + "/" + GetParam().substr(GetParam().find(':') + 1) + ".txt";
    const std::string found = choices(gpu);
    if (getenv("MUATTN_WRITE_CHOICES") != nullptr) {
        std::ofstream(path) << found;
        return;
    }
    std::ifstream file(path);
    if (!file) {
        GTEST_SKIP() << "no record of this backend: MUATTN_WRITE_CHOICES=1 writes it";
    }
    std::string expected, line;
    std::istringstream lines(found);
    while (std::getline(file, expected)) {
        std::getline(lines, line);
        EXPECT_EQ(line, expected);
    }
    EXPECT_FALSE(std::getline(lines, line)) << "not in the record: " << line;
}

}  // namespace
}  // namespace muattn::test
