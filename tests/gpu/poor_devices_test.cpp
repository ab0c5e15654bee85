// Devices with less memory than a call takes, of the kind that a thread block shares and of the large kind: a status and a message,
// nothing written, and both the device and the processor go on. Each test has a process of its own.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

SpatialCase small_case() {
    SpatialCase c;
    c.n_q = 5, c.n_k = 7, c.d = 3, c.d_v = 2;
    return c;
}

void expect_both_go_on(const char *backend) {
    ASSERT_EQ(muattn_force_backend(backend), MUATTN_OK) << muattn_last_error();
    expect_agrees(small_case());
    muattn_force_backend(nullptr);
    expect_agrees(small_case());
}

// Memory of the host that takes none until it is written to.
class Untouched {
public:
    explicit Untouched(size_t elements) : bytes_(elements * sizeof(float)) {
        data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    ~Untouched() { munmap(data_, bytes_); }
    Untouched(const Untouched &) = delete;
    Untouched &operator=(const Untouched &) = delete;
    void *data() const { return data_; }
    bool is_untouched() const {
        std::vector<unsigned char> pages(bytes_ / size_t(getpagesize()) + 1);
        EXPECT_EQ(mincore(data_, bytes_, pages.data()), 0);
        for (const unsigned char page : pages) {
            if (page & 1) {
                return false;
            }
        }
        return true;
    }

private:
    size_t bytes_;
    void *data_ = nullptr;
};

// A GiB for the output: all queries are the same one in memory.
constexpr int64_t kQueries = int64_t(1) << 22, kChannels = 64;
void expect_no_room_for(const Untouched &memory) {
    constexpr int64_t n_q = kQueries, d = kChannels;
    std::vector<float> row(d, 0.5f);
    const muattn_tensor q{row.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, n_q, d}, {d, d, 0, 1}, 0},
        k{row.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, 1, d}, {}, 0},
        out{memory.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, 1, n_q, d}, {}, 0};
    EXPECT_EQ(muattn_spatial_attention_forward(&q, &k, &k, nullptr, &out, nullptr), MUATTN_OUT_OF_MEMORY);
    EXPECT_NE(std::string(muattn_last_error()).find("out of device memory"), std::string::npos) << muattn_last_error();
    EXPECT_TRUE(memory.is_untouched());
}

// As much for the maps, which the kernel asks for itself; all heads are the same one in memory.
void expect_no_room_between_steps() {
    constexpr int64_t heads = 256, d = 1024;
    std::vector<float> row(d, 0.5f);
    const Untouched memory(heads * d);
    const muattn_tensor q{row.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, heads, 1, d}, {d, 0, d, 1}, 0},
        out{memory.data(), MUATTN_FLOAT32, MUATTN_CPU, {1, heads, 1, d}, {}, 0};
    EXPECT_EQ(muattn_channel_attention_forward(&q, &q, &q, nullptr, &out), MUATTN_OUT_OF_MEMORY);
    EXPECT_NE(std::string(muattn_last_error()).find("memory"), std::string::npos) << muattn_last_error();
    EXPECT_TRUE(memory.is_untouched());
}

void expect_out_of_memory(const char *backend, const Untouched &output) {
    for (int i = 0; i < 2; i++) {
        expect_no_room_for(output);
        expect_no_room_between_steps();
    }
    expect_both_go_on(backend);
}

TEST(OutOfDeviceMemory, OpenCl) {
    setenv("POCL_MEMORY_LIMIT", "1", 1);  // GiB, of which a buffer may take a part
    ASSERT_EQ(muattn_force_backend("opencl"), MUATTN_OK) << muattn_last_error();
    expect_out_of_memory("opencl", Untouched(kQueries * kChannels));
}

// lavapipe's memory is the process's, of which there is no more.
TEST(OutOfDeviceMemory, Vulkan) {
    ASSERT_EQ(muattn_force_backend("vulkan"), MUATTN_OK) << muattn_last_error();
    expect_agrees(small_case());
    ChannelCase c;
    c.n = 5, c.d = 8;
    expect_agrees(c);
    const Untouched output(kQueries * kChannels);
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
    size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    constexpr rlim_t kSome = rlim_t(256) << 20;
    rlimit tight = before;
    tight.rlim_cur = rlim_t(pages) * rlim_t(getpagesize()) + kSome;
    ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
    expect_out_of_memory("vulkan", output);
    setrlimit(RLIMIT_AS, &before);
}

// A driver that finds out late: when the kernel starts.
TEST(OutOfDeviceMemory, OpenClAtAKernelsStart) {
    ASSERT_EQ(muattn_force_backend("opencl"), MUATTN_OK) << muattn_last_error();
    const SpatialTensors t = make_tensors(small_case());
    const WriteWatch watch(t.out);
    setenv("MUATTN_TEST_FAULT", "allocation", 1);
    EXPECT_EQ(run(small_case(), t), MUATTN_OUT_OF_MEMORY);
    EXPECT_NE(std::string(muattn_last_error()).find("out of memory"), std::string::npos) << muattn_last_error();
    EXPECT_EQ(watch.changes(), 0);
    unsetenv("MUATTN_TEST_FAULT");
    expect_both_go_on("opencl");
}

void expect_little_shared_memory(const char *backend) {
    ASSERT_EQ(muattn_force_backend(backend), MUATTN_OK) << muattn_last_error();
    SpatialCase large = small_case();
    large.d = large.d_v = 64;
    ChannelCase channel;
    channel.n = 5, channel.d = 8;
    const SpatialTensors t = make_tensors(large);
    const ChannelTensors t_channel = make_tensors(channel);
    const WriteWatch watch(t.out), watch_channel(t_channel.out);
    for (const muattn_status status : {run(large, t), run(channel, t_channel)}) {
        EXPECT_EQ(status, MUATTN_UNSUPPORTED);
        EXPECT_NE(std::string(muattn_last_error()).find("shared memory"), std::string::npos) << muattn_last_error();
        EXPECT_NE(std::string(muattn_last_error()).find("4096"), std::string::npos) << muattn_last_error();
    }
    EXPECT_EQ(watch.changes() + watch_channel.changes(), 0);
    muattn_force_backend(nullptr);
    expect_agrees(large);
    expect_agrees(channel);
}

// No kernel starts; the process has to end well nevertheless.
TEST(LittleSharedMemory, OpenCl) {
    setenv("MUATTN_TEST_FAULT", "shared", 1);
    expect_little_shared_memory("opencl");
}

TEST(LittleSharedMemory, Vulkan) {
    setenv("VK_INSTANCE_LAYERS", "VK_LAYER_MUATTN_little_shared_memory", 1);
    expect_little_shared_memory("vulkan");
}

}  // namespace
}  // namespace muattn::test
