// The functions that are not about tensors: statuses, versions, threads, allocators, backends.
#include <cstring>
#include <set>
#include <thread>

#include "support/backends.h"
#include "support/cases.h"
#include "support/faults.h"

namespace muattn::test {
namespace {

class Settings : public WithSettings {};

TEST_F(Settings, EveryStatusHasItsName) {
    std::set<std::string> names;
    for (int status = MUATTN_OK; status <= MUATTN_INTERNAL_ERROR; status++) {
        names.insert(muattn_status_name(muattn_status(status)));
    }
    EXPECT_EQ(names.size(), size_t(MUATTN_INTERNAL_ERROR) + 1);
    EXPECT_EQ(names.count("MUATTN_INVALID_K"), 1u);
    EXPECT_NE(muattn_status_name(unknown_value<muattn_status>()), nullptr);
    EXPECT_NE(muattn_status_name(unknown_value<muattn_status>(-1)), nullptr);
}

TEST_F(Settings, Version) { EXPECT_STREQ(muattn_version(), MUATTN_VERSION); }

TEST_F(Settings, MessagesBelongToTheirThread) {
    std::string before, after;
    std::thread other([&] {
        before = muattn_last_error();
        muattn_set_num_threads(0);
        after = muattn_last_error();
    });
    other.join();
    EXPECT_EQ(before, "");
    EXPECT_NE(after, "");
    muattn_set_num_threads(-5);
    const std::string mine = muattn_last_error();
    EXPECT_NE(mine.find("-5"), std::string::npos) << mine;
}

TEST_F(Settings, NumberOfThreads) {
    for (const int n : {1, 2, 7, 256}) {
        EXPECT_EQ(muattn_set_num_threads(n), MUATTN_OK);
        EXPECT_EQ(muattn_get_num_threads(), n);
    }
    for (const int n : {0, -1, 257, INT32_MAX, INT32_MIN}) {
        EXPECT_EQ(muattn_set_num_threads(n), MUATTN_INVALID_ARGUMENT) << n;
        EXPECT_NE(std::string(muattn_last_error()).find("threads"), std::string::npos) << muattn_last_error();
        EXPECT_EQ(muattn_get_num_threads(), 256);
    }
}

TEST_F(Settings, AllocatorIsGivenWholeOrNotAtAll) {
    const muattn_allocate allocate = [](void *, size_t, size_t) -> void * { return nullptr; };
    const muattn_deallocate deallocate = [](void *, void *) {};
    EXPECT_EQ(muattn_set_allocator(allocate, nullptr, nullptr), MUATTN_INVALID_ARGUMENT);
    EXPECT_NE(std::string(muattn_last_error()).find("deallocate"), std::string::npos) << muattn_last_error();
    EXPECT_EQ(muattn_set_allocator(nullptr, deallocate, nullptr), MUATTN_INVALID_ARGUMENT);
    expect_agrees(SpatialCase());
}

TEST_F(Settings, UnknownBackends) {
    const std::string before = muattn_current_backend();
    for (const char *name : {"", "cpu", "cpu:", "cpu:avx3", "CPU:AVX2", "gpu:none", "cpu:avx2 "}) {
        EXPECT_EQ(muattn_force_backend(name), MUATTN_INVALID_BACKEND) << name;
        const std::string message = muattn_last_error();
        for (const std::string &known : backend_names()) {
            EXPECT_NE(message.find(known), std::string::npos)
                << "the message does not list " << known << ": " << message;
        }
        EXPECT_EQ(muattn_current_backend(), before);
    }
    const std::string long_name(10000, 'x');
    EXPECT_EQ(muattn_force_backend(long_name.c_str()), MUATTN_INVALID_BACKEND);
    expect_agrees(SpatialCase());
}

}  // namespace
}  // namespace muattn::test
