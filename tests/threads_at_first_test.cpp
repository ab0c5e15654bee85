// How many threads calls use at first: CPU quotas in made-up control groups, and environment variables.
#include "runtime/src/system/threads_at_first.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

namespace muattn::test {
namespace {

class ThreadsAtFirst : public testing::Test {
protected:
    ThreadsAtFirst() : root_(std::filesystem::temp_directory_path() / ("muattn_" + std::to_string(getpid()))) {}
    ~ThreadsAtFirst() override {
        std::filesystem::remove_all(root_);
        unsetenv("MUATTN_NUM_THREADS");
        unsetenv("OMP_NUM_THREADS");
    }

    int processors(const std::map<std::string, std::string> &files) const {
        std::filesystem::remove_all(root_);
        for (const auto &[name, text] : files) {
            const std::filesystem::path path = root_ / name;
            std::filesystem::create_directories(path.parent_path());
            std::ofstream(path) << text;
        }
        return processors_of_quota(root_.c_str());
    }

    std::filesystem::path root_;
};

#ifdef __linux__
const std::string kVersion2 = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const std::string kVersion1 =
    "22 21 0:20 / /sys/fs/cgroup rw shared:1 - tmpfs tmpfs rw\n"
    "33 22 0:29 / /sys/fs/cgroup/cpuset rw shared:9 - cgroup cgroup rw,cpuset\n"
    "34 22 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n";

TEST_F(ThreadsAtFirst, NoGroups) {
    EXPECT_EQ(processors({}), 0);
    EXPECT_EQ(processors({{"proc/self/mountinfo", ""}, {"proc/self/cgroup", ""}}), 0);
    EXPECT_EQ(processors({{"proc/self/mountinfo", "nonsense\n - \n\n"}, {"proc/self/cgroup", "0\n:\n"}}), 0);
}

TEST_F(ThreadsAtFirst, Version2) {
    const auto of = [&](const std::string &quota) {
        return processors({{"proc/self/mountinfo", kVersion2},
                           {"proc/self/cgroup", "0::/a/b\n"},
                           {"sys/fs/cgroup/a/b/cpu.max", quota}});
    };
    EXPECT_EQ(of("200000 100000\n"), 2);
    EXPECT_EQ(of("200001 100000\n"), 3);
    EXPECT_EQ(of("150000 50000\n"), 3);
    EXPECT_EQ(of("1000 100000\n"), 1);
    EXPECT_EQ(of("max 100000\n"), 0);
    EXPECT_EQ(of("0 100000\n"), 0);
    EXPECT_EQ(of("-1 100000\n"), 0);
    EXPECT_EQ(of("100000 0\n"), 0);
    EXPECT_EQ(of(""), 0);
    EXPECT_EQ(of("nonsense"), 0);
    EXPECT_EQ(of("9000000000000000000 1\n"), INT32_MAX);
}

TEST_F(ThreadsAtFirst, TheLeastQuotaOnTheWayUp) {
    std::map<std::string, std::string> files{{"proc/self/mountinfo", kVersion2},
                                             {"proc/self/cgroup", "0::/a/b/c\n"},
                                             {"sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n"},
                                             {"sys/fs/cgroup/a/b/cpu.max", "300000 100000\n"},
                                             {"sys/fs/cgroup/a/cpu.max", "500000 100000\n"}};
    EXPECT_EQ(processors(files), 3);
    files["sys/fs/cgroup/a/cpu.max"] = "250000 200000\n";
    EXPECT_EQ(processors(files), 2);
    files["sys/fs/cgroup/a/b/c/cpu.max"] = "400000 100000\n";
    EXPECT_EQ(processors(files), 2);
    // A container sees its own group as the root.
    files["proc/self/cgroup"] = "0::/\n";
    files["sys/fs/cgroup/cpu.max"] = "700000 100000\n";
    EXPECT_EQ(processors(files), 7);
}

TEST_F(ThreadsAtFirst, Version1) {
    std::map<std::string, std::string> files{
        {"proc/self/mountinfo", kVersion1},
        {"proc/self/cgroup", "12:cpuset:/other\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/y\n0::/z\n"},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
        {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us", "350000\n"},
        {"sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us", "100000\n"}};
    EXPECT_EQ(processors(files), 4);
    files["sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_quota_us"] = "50000\n";
    files["sys/fs/cgroup/cpu,cpuacct/docker/cpu.cfs_period_us"] = "25000\n";
    EXPECT_EQ(processors(files), 2);
}

// A container without a namespace of its own: its group's path is the host's, what is mounted is that group.
TEST_F(ThreadsAtFirst, AGroupIsMounted) {
    EXPECT_EQ(
        processors({{"proc/self/mountinfo", "34 22 0:30 /docker/x /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n"},
                    {"proc/self/cgroup", "4:cpu:/docker/x/inner\n"},
                    {"sys/fs/cgroup/cpu/cpu.cfs_quota_us", "600000\n"},
                    {"sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"},
                    {"sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "500000\n"},
                    {"sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n"}}),
        5);
    for (const char *group : {"0::/docker/xy\n", "0::/other\n", "0::/../../other\n"}) {
        EXPECT_EQ(processors({{"proc/self/mountinfo", "29 23 0:26 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n"},
                              {"proc/self/cgroup", group},
                              {"sys/fs/cgroup/cpu.max", "600000 100000\n"}}),
                  6)
            << group;
    }
}

TEST_F(ThreadsAtFirst, BothVersions) {
    EXPECT_EQ(processors(
                  {{"proc/self/mountinfo", kVersion1 + "35 22 0:31 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
                   {"proc/self/cgroup", "4:cpu,cpuacct:/x\n0::/x\n"},
                   {"sys/fs/cgroup/unified/x/cpu.max", "300000 100000\n"},
                   {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_quota_us", "200000\n"},
                   {"sys/fs/cgroup/cpu,cpuacct/x/cpu.cfs_period_us", "100000\n"}}),
              2);
}
#endif

TEST_F(ThreadsAtFirst, Variables) {
    const int without = threads_at_first();
    EXPECT_GE(without, 1);
    setenv("OMP_NUM_THREADS", "5", 1);
    EXPECT_EQ(threads_at_first(), 5);
    setenv("OMP_NUM_THREADS", "6,3,2", 1);
    EXPECT_EQ(threads_at_first(), 6);
    setenv("MUATTN_NUM_THREADS", " 7 ", 1);
    EXPECT_EQ(threads_at_first(), 7);
    setenv("MUATTN_NUM_THREADS", "99999999999999999999", 1);
    EXPECT_EQ(threads_at_first(), INT32_MAX);
    for (const char *nonsense : {"", " ", "0", "-3", "four", "4x", "4 5", "0x4", "2.5", ",3", ";"}) {
        setenv("MUATTN_NUM_THREADS", nonsense, 1);
        EXPECT_EQ(threads_at_first(), 6) << "'" << nonsense << "'";
    }
    for (const char *nonsense : {"", "0", "-3,2", "true"}) {
        setenv("OMP_NUM_THREADS", nonsense, 1);
        EXPECT_EQ(threads_at_first(), without) << "'" << nonsense << "'";
    }
}

}  // namespace
}  // namespace muattn::test
