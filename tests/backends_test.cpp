// Backends and kernels: listed, forced, and every one of them executed.
#include <cmath>
#include <limits>
#include <set>

#include "support/backends.h"
#include "support/cases.h"

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

// Runs a call for which the library has to choose this kernel, on the current backend. False: it is not known here how.
bool provoke(const std::string &operation, const std::string &kind) {
    if (operation == "channel_attention/forward/float32" && kind == "plain") {
        ChannelCase c;
        c.n = 9, c.d = 7;
        expect_agrees(c);
        return true;
    }
    if (operation == "spatial_attention/forward/float32") {
        SpatialCase c;
        c.n_q = 5, c.n_k = 9, c.d = 7, c.d_v = 6;
        c.lse = kind == "lse" || kind == "guarded_lse";
        const SpatialTensors t = make_tensors(c);
        if (kind == "guarded" || kind == "guarded_lse") {
            // A hidden value that is not finite.
            c.causal = MUATTN_CAUSAL_TOP_LEFT;
            t.v.at(0, 0, 8, 0) = std::numeric_limits<float>::infinity();
        } else if (kind != "plain" && kind != "lse") {
            return false;
        }
        expect_agrees(c, t);
        return true;
    }
    return false;
}

TEST_F(Backends, EveryKernelIsExecuted) {
    ASSERT_GE(muattn_kernel_count(), 1);
    EXPECT_EQ(muattn_kernel_name(-1), nullptr);
    EXPECT_EQ(muattn_kernel_name(muattn_kernel_count()), nullptr);
    for (int i = 0; i < muattn_kernel_count(); i++) {
        // operation/direction/dtype/kind/backend
        const std::string name = muattn_kernel_name(i);
        const size_t backend = name.rfind('/'), kind = name.rfind('/', backend - 1);
        SCOPED_TRACE(name);
        if (!backend_is_available(name.substr(backend + 1))) {
            continue;
        }
        ASSERT_EQ(muattn_force_backend(name.substr(backend + 1).c_str()), MUATTN_OK) << muattn_last_error();
        ASSERT_TRUE(provoke(name.substr(0, kind), name.substr(kind + 1, backend - kind - 1)))
            << "no test calls this kernel: teach provoke() how";
        EXPECT_EQ(muattn_last_kernel(), name);
    }
}

}  // namespace
}  // namespace muattn::test
