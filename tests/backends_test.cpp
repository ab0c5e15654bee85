// Backends and kernels: listed, forced, and every one of them executed.
#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "support/backends.h"
#include "support/cases.h"
#include "support/channel_gradients.h"
#include "support/logit_stats.h"
#include "support/sixteen_bit_tensors.h"
#include "support/spatial_gradients.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class Backends : public WithSettings {};

TEST_F(Backends, AreListed) {
    ASSERT_GE(muattn_backend_count(), 1);
    std::set<std::string> names;
    for (int i = 0; i < muattn_backend_count(); i++) {
        ASSERT_NE(muattn_backend_name(i), nullptr);
        names.insert(muattn_backend_name(i));
    }
    EXPECT_EQ(int(names.size()), muattn_backend_count()) << "a name occurs twice";
    for (const int index : {-1, muattn_backend_count(), 1000}) {
        EXPECT_EQ(muattn_backend_name(index), nullptr);
        EXPECT_EQ(muattn_backend_available(index), 0);
    }
}

TEST_F(Backends, TheFirstAvailableIsUsed) {
    for (int i = 0; i < muattn_backend_count(); i++) {
        if (muattn_backend_available(i)) {
            EXPECT_STREQ(muattn_current_backend(), muattn_backend_name(i));
            return;
        }
    }
    FAIL() << "no backend is available";
}

TEST_F(Backends, AreForcedIfAvailable) {
    for (const std::string &name : backend_names()) {
        if (is_gpu(name)) {
            continue;  // tests/gpu
        }
        if (backend_is_available(name)) {
            EXPECT_EQ(muattn_force_backend(name.c_str()), MUATTN_OK) << muattn_last_error();
            EXPECT_EQ(muattn_current_backend(), name);
            expect_agrees(SpatialCase());
            expect_agrees(ChannelCase());
        } else {
            EXPECT_EQ(muattn_force_backend(name.c_str()), MUATTN_INVALID_BACKEND);
            EXPECT_NE(std::string(muattn_last_error()).find(name), std::string::npos) << muattn_last_error();
        }
    }
    EXPECT_EQ(muattn_force_backend(nullptr), MUATTN_OK);
}

bool contains(const std::string &text, const char *part) { return text.find(part) != std::string::npos; }

void provoke_int8(const SpatialCase &c) {
    const SpatialTensors t = make_tensors(c);
    std::vector<int8_t> ones(size_t(c.n_k * c.d), 1);
    const Tensor scale({1, 1, c.n_k, 1}, dense());
    scale.fill(1);
    const muattn_tensor row_scale = scale.view(), q = t.q.view(), out = t.out.view(), lse = t.lse.view();
    muattn_tensor k = t.k.view(), v = t.v.view(), mask{};
    for (muattn_tensor *of_keys : {&k, &v}) {
        of_keys->data = ones.data();
        of_keys->dtype = MUATTN_INT8;
    }
    muattn_spatial_options options = options_with_mask(c, t, mask);
    options.k_scale = options.v_scale = &row_scale;
    EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &v, &options, &out, c.lse ? &lse : nullptr), MUATTN_OK)
        << muattn_last_error();
}

// Calls for which the library has to choose this kernel, e.g. general+mask=additive+lse, on the current backend. type: of keys and values.
void provoke_spatial(const std::string &kernel, muattn_dtype type) {
    SpatialCase c;
    const bool split = contains(kernel, "split_keys");
    c.n_q = split ? 5 : 40, c.n_k = 47, c.d = 7, c.d_v = 6;
    c.lse = contains(kernel, "+lse");
    c.softcap = contains(kernel, "+softcap=always") ? 2.0f : 0.0f;
    c.mask = contains(kernel, "+mask=additive")  ? SpatialCase::additive
             : contains(kernel, "+mask=boolean") ? SpatialCase::boolean
                                                 : SpatialCase::no_mask;
    const bool guard = contains(kernel, "+guard");
    if (!split && !guard && !contains(kernel, "few_keys")) {
        c.key_lengths = {47};
    }
    if (guard) {
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
        c.softcap = type == MUATTN_INT8 ? 2.0f : 0.0f;  // int8 is always finite
    }
    const SpatialTensors t = make_tensors(c);
    if (guard) {
        // A hidden value that is not finite.
        t.v.at(0, 0, 46, 0) = std::numeric_limits<float>::infinity();
    }
    if (type == MUATTN_FLOAT32) {
        expect_agrees(c, t);
    } else if (type != MUATTN_INT8) {
        SpatialTensors narrow = t;
        narrow.k = t.k.narrowed(type), narrow.v = t.v.narrowed(type);
        EXPECT_EQ(run(c, narrow), MUATTN_OK) << muattn_last_error();
    } else {
        provoke_int8(c);
    }
}

void provoke_spatial_backward(const std::string &kernel) {
    SpatialBackwardCase c;
    c.n_q = 9, c.n_k = 11, c.d = 7, c.d_v = 6;
    c.softcap = contains(kernel, "+softcap=always") ? 2.0f : 0.0f;
    const bool guard = contains(kernel, "+guard");
    c.wants_mask = contains(kernel, "+d_mask");
    c.mask = contains(kernel, "+mask=boolean")                    ? SpatialCase::boolean
             : contains(kernel, "+mask=additive") || c.wants_mask ? SpatialCase::additive
                                                                  : SpatialCase::no_mask;
    if (guard) {
        c.causal = MUATTN_CAUSAL_TOP_LEFT;
    }
    SpatialGradientTensors t = make_gradient_tensors(c);
    if (guard) {
        t.inputs.k.at(0, 0, 10, 0) = std::numeric_limits<float>::infinity();  // no query sees it
    }
    expect_gradients_agree(c, t);
}

// The least d for which blocks of so many vectors, 0: the schedule's, leave the fewest rows empty; 0 if there is none.
template<typename Schedule>
int64_t d_for_blocks(int block_vectors, const std::vector<Schedule> &schedules,
                     int64_t (Schedule::*rows)(int64_t) const) {
    for (int64_t d = 1; d <= MUATTN_MAX_D; d++) {
        const auto fewest = std::min_element(schedules.begin(), schedules.end(),
                                             [&](const auto &a, const auto &b) { return (a.*rows)(d) < (b.*rows)(d); });
        if (fewest->block_vectors == block_vectors) {
            return d;
        }
    }
    return 0;
}

int64_t d_for_kernel(const std::string &kernel) {
    int blocks = 3;
    while (blocks > 0 && !contains(kernel, ("+block_vectors=" + std::to_string(blocks)).c_str())) {
        blocks--;
    }
    const std::string backend = muattn_current_backend();
    if (contains(kernel, "channels_last_map")) {
        return d_for_blocks(blocks, map_schedules(backend), &schedule::ChannelsLastMap::padded);
    }
    if (contains(kernel, "channels_last_product")) {
        return d_for_blocks(blocks, product_schedules(backend), &schedule::ChannelsLastProduct::padded);
    }
    return d_for_blocks(blocks, channel_schedules(backend), &schedule::ChannelsLast::padded);
}

void provoke_channel(const std::string &kernel, muattn_dtype type) {
    ChannelCase c;
    c.n = 9, c.d = d_for_kernel(kernel);
    ASSERT_GT(c.d, 0) << "no d asks for this kernel: see not_built in tables/kernels.json";
    c.normalize = contains(kernel, "+normalize");
    c.channels = contains(kernel, "channels_first") ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
    if (type == MUATTN_FLOAT32) {
        return expect_agrees(c);
    }
    const ChannelTensors t = make_tensors(c);
    EXPECT_EQ(run(c, narrowed(t, t.out, type)), MUATTN_OK) << muattn_last_error();
}

// Of the kernels that a call of channel attention's halves or gradients runs, it names one. The others are run with that: false for those.
bool provoke_channel_part(const std::string &kernel) {
    ChannelGradientCase c;
    c.n = 9, c.d = d_for_kernel(kernel);
    c.channels = contains(kernel, "channels_first") ? MUATTN_CHANNELS_FIRST : MUATTN_CHANNELS_LAST;
    c.normalize = contains(kernel, "squares");
    c.scale.assign(1, 2.0f);
    const ChannelGradientTensors t = make_tensors(c);
    if (contains(kernel, "gradient")) {
        expect_agrees(c, t);
        return true;
    }
    expect_halves_agree(c, t);  // muattn_channel_map and muattn_channel_apply
    if (contains(kernel, "_map")) {
        const muattn_tensor q = t.forward.q.view(), k = t.forward.k.view(), map = t.map.view();
        const muattn_channel_options options = c.options();
        EXPECT_EQ(muattn_channel_map(&q, &k, &options, &map, nullptr, nullptr), MUATTN_OK) << muattn_last_error();
        return true;
    }
    return contains(kernel, "_product");
}

void provoke_logit_stats(bool of_spatial) {
    SpatialCase spatial;
    spatial.n_q = 9, spatial.n_k = 11, spatial.d = 7;
    ChannelCase channel;
    channel.n = 9, channel.d = 7;
    of_spatial ? expect_stats_agree(spatial) : expect_stats_agree(channel);
}

void provoke_merge(muattn_dtype type) {
    Tensor a({1, 1, 2, 3}, dense()), b({1, 1, 2, 3}, dense()), out({1, 1, 2, 3}, dense());
    const Tensor lse_a({1, 1, 2, 1}, dense()), lse_b({1, 1, 2, 1}, dense()), lse({1, 1, 2, 1}, dense());
    a.fill(1), b.fill(1), lse_a.fill(1), lse_b.fill(1);
    if (type != MUATTN_FLOAT32) {
        a = a.narrowed(type), b = b.narrowed(type), out = out.narrowed(type);
    }
    const muattn_tensor views[] = {a.view(), lse_a.view(), b.view(), lse_b.view(), out.view(), lse.view()};
    EXPECT_EQ(muattn_merge(&views[0], &views[1], &views[2], &views[3], &views[4], &views[5]), MUATTN_OK)
        << muattn_last_error();
}

bool is_part(const std::string &kernel) {
    for (const char *part : {"_map", "_product", "squares", "softmax", "transpose", "gradient"}) {
        if (contains(kernel, part)) {
            return true;
        }
    }
    return false;
}

// is_named: whether the kernel is then that of the call.
bool provoke(const std::string &operation, const std::string &kernel, bool &is_named) {
    is_named = true;
    const muattn_dtype type = contains(operation, "bfloat16")  ? MUATTN_BFLOAT16
                              : contains(operation, "float16") ? MUATTN_FLOAT16
                              : contains(operation, "int8")    ? MUATTN_INT8
                                                               : MUATTN_FLOAT32;
    if (contains(kernel, "logit_stats")) {
        provoke_logit_stats(contains(operation, "spatial"));
    } else if (contains(operation, "spatial_attention/forward/")) {
        provoke_spatial(kernel, type);
    } else if (operation == "spatial_attention/backward/float32") {
        provoke_spatial_backward(kernel);
    } else if (contains(operation, "channel_attention/") && is_part(kernel)) {
        is_named = provoke_channel_part(kernel);
    } else if (contains(operation, "channel_attention/forward/")) {
        provoke_channel(kernel, type);
    } else if (contains(operation, "merge/forward/")) {
        provoke_merge(type);
    } else if (contains(operation, "convert/")) {
        is_named = false;  // another is the call's
        ChannelCase c;
        ChannelTensors t = make_tensors(c);
        t = {t.q.narrowed(type), t.k.narrowed(type), t.v.narrowed(type), t.out.narrowed(type)};
        EXPECT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    } else {
        return false;
    }
    return true;
}

TEST_F(Backends, EveryKernelIsExecuted) {
    ASSERT_GE(muattn_kernel_count(), 1);
    EXPECT_EQ(muattn_kernel_name(-1), nullptr);
    EXPECT_EQ(muattn_kernel_name(muattn_kernel_count()), nullptr);
    for (int i = 0; i < muattn_kernel_count(); i++) {
        // operation/direction/dtype/kernel/backend
        const std::string name = muattn_kernel_name(i);
        const size_t backend = name.rfind('/'), kernel = name.rfind('/', backend - 1);
        SCOPED_TRACE(name);
        if (is_gpu(name.substr(backend + 1)) || !backend_is_available(name.substr(backend + 1))) {
            continue;  // gpu_test.cpp has those of GPUs
        }
        ASSERT_EQ(muattn_force_backend(name.substr(backend + 1).c_str()), MUATTN_OK) << muattn_last_error();
        bool is_named = false;
        ASSERT_TRUE(provoke(name.substr(0, kernel), name.substr(kernel + 1, backend - kernel - 1), is_named))
            << "no test calls this kernel: teach provoke() how";
        EXPECT_TRUE(!is_named || muattn_last_kernel() == name) << muattn_last_kernel() << " ran";
    }
}

class BackendsOfThisBuild : public testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(All, BackendsOfThisBuild, testing::ValuesIn(backend_names()), test_name);

TEST_P(BackendsOfThisBuild, RunHere) {
    if (!backend_is_available(GetParam())) {
        GTEST_SKIP() << "this machine cannot run " << GetParam() << ": its kernels are not tested here";
    }
}

}  // namespace
}  // namespace muattn::test
