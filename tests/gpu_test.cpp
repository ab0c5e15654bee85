// What only kernels for GPUs have: head dimensions that they are compiled for, and keys split among thread blocks. All other suites run
// on GPUs as well, where MUATTN_TEST_BACKENDS names them.
#include <cmath>
#include <cstdlib>
#include <utility>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class Gpu : public OnEveryBackend {};
INSTANTIATE_TEST_SUITE_P(Backends, Gpu, testing::ValuesIn([] {
                             std::vector<std::string> names;
                             for (const std::string &name : available_backends()) {
                                 if (is_gpu(name)) {
                                     names.push_back(name);
                                 }
                             }
                             return names;
                         }()),
                         test_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Gpu);

// A backend that is asked for has to be there.
TEST(GpuBackends, AreThoseThatAreAskedFor) {
    const char *wanted = getenv("MUATTN_TEST_BACKENDS");
    if (wanted == nullptr) {
        GTEST_SKIP() << "MUATTN_TEST_BACKENDS names no backend";
    }
    std::string found;
    for (const std::string &name : backend_names()) {
        if (is_wanted(name)) {
            found += (found.empty() ? "" : ",") + name;
            EXPECT_TRUE(backend_is_available(name)) << "this machine cannot run the backend " << name;
        }
    }
    EXPECT_EQ(found, wanted) << "not all of the backends that MUATTN_TEST_BACKENDS names are in this build";
}

TEST_P(Gpu, AroundEveryHeadDimension) {
    for (const int64_t d : around({16, 32, 40, 48, 64, 80, 96, 128, 192, 255})) {
        SpatialCase c;
        c.H = 2, c.n_q = 35, c.n_k = 70, c.d = d, c.d_v = d;
        expect_agrees(c);
        c.d_v = d / 2 + 1;
        c.lse = false;
        c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
        expect_agrees(c);
    }
}

TEST_P(Gpu, AnotherHeadDimensionForValues) {
    for (const auto &[d, d_v] : {std::pair<int64_t, int64_t>{5, 90}, {90, 5}, {64, 65}, {1, 256}, {256, 1}}) {
        SpatialCase c;
        c.n_q = 20, c.n_k = 40, c.d = d, c.d_v = d_v;
        expect_agrees(c);
    }
}

TEST_P(Gpu, LargeHeadDimensionsAreRefused) {
    SpatialCase c;
    c.n_q = 3, c.n_k = 4, c.d = 257, c.d_v = 8;
    expect_agrees(c);
    const SpatialTensors t = make_tensors(c);
    EXPECT_EQ(run(c, t), MUATTN_UNSUPPORTED);
    EXPECT_NE(std::string(muattn_last_error()).find("257"), std::string::npos) << muattn_last_error();
}

TEST_P(Gpu, SplitKeys) {
    for (const int64_t n_k : {512, 513, 767, 1024, 1500}) {
        for (const int64_t n_q : {1, 3, 7}) {
            SpatialCase c;
            c.B = 2, c.H = 6, c.Hk = 2, c.n_q = n_q, c.n_k = n_k, c.d = 20, c.d_v = 24;
            expect_agrees(c);
            EXPECT_NE(std::string(muattn_last_kernel()).find("/block_split_keys"), std::string::npos)
                << muattn_last_kernel();
            c.causal = MUATTN_CAUSAL_BOTTOM_RIGHT;
            c.window = {1, 300, 0};
            c.key_lengths = {n_k, n_k / 2};
            c.lse = false;
            expect_agrees(c);
            c.mask = SpatialCase::additive;
            c.softcap = 3;
            expect_agrees(c);
            c.mask = SpatialCase::boolean;
            c.mask_full = {false, true, false, true};
            c.key_lengths = {0, 1};
            expect_agrees(c);
        }
    }
}

// A call for which the library has to choose this kernel, e.g. spatial_attention/forward/float32/block_split_keys+lse+max_d=64/opencl.
void provoke(const std::string &kernel) {
    const auto contains = [&](const char *part) { return kernel.find(part) != std::string::npos; };
    if (contains("channel_attention")) {
        ChannelCase c;
        c.H = 2, c.n = 70, c.d = 35;
        c.normalize = contains("+normalize");
        c.channels = contains("channels_first") ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
        expect_agrees(c);
        return;
    }
    if (contains("merge/")) {
        const Tensor out({2, 2, 3, 5}, dense()), lse({2, 2, 3, 1}, dense()), merged({2, 2, 3, 5}, dense()),
            sum({2, 2, 3, 1}, dense());
        out.fill_normal(1), lse.fill(0.5f);
        const muattn_tensor o = out.view(), l = lse.view(), m = merged.view(), s = sum.view();
        ASSERT_EQ(muattn_merge(&o, &l, &o, &l, &m, &s), MUATTN_OK) << muattn_last_error();
        for (size_t i = 0; i < out.elements().size(); i++) {
            ASSERT_NEAR(merged.elements()[i], out.elements()[i], 1e-6) << i;
        }
        EXPECT_NEAR(sum.at(1, 1, 2, 0), 0.5 + std::log(2.0), 1e-6);
        return;
    }
    SpatialCase c;
    c.d = c.d_v = std::stoi(kernel.substr(kernel.rfind("max_d=") + 6));
    c.H = 2, c.n_q = contains("split_keys") ? 3 : 40, c.n_k = contains("split_keys") ? 600 : 50;
    c.lse = contains("+lse");
    c.mask = contains("+mask=any") ? SpatialCase::additive : SpatialCase::no_mask;
    expect_agrees(c);
}

TEST_P(Gpu, EveryKernelIsExecuted) {
    int executed = 0;
    for (int i = 0; i < muattn_kernel_count(); i++) {
        const std::string name = muattn_kernel_name(i);
        const size_t size = name.rfind("max_d=");
        const bool wanted = size == std::string::npos || gpu_head_dim_is_wanted(std::stoi(name.substr(size + 6)));
        if (name.substr(name.rfind('/') + 1) == GetParam() && wanted) {
            SCOPED_TRACE(name);
            provoke(name);
            EXPECT_EQ(muattn_last_kernel(), name);
            executed++;
        }
    }
    EXPECT_GT(executed, 0);
}

// Memory that was given back serves other sizes.
TEST_P(Gpu, MemoryIsTakenAgain) {
    for (const bool release : {false, true}) {
        for (int64_t d = 1; d < 40; d++) {
            ChannelCase c;
            c.n = 1 + d % 5, c.d = d, c.normalize = d % 2 != 0;
            expect_agrees(c);
            SpatialCase s;
            s.n_q = 2, s.n_k = 512 + 40 * d, s.d = 8, s.d_v = 8;
            expect_agrees(s);
            if (release) {
                muattn_release_memory();
            }
        }
    }
}

}  // namespace
}  // namespace muattn::test
