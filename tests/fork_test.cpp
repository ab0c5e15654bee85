// fork() beside running calls, and after them. A child that hangs is ended by its alarm.
#include <atomic>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include "support/backends.h"
#include "support/cases.h"

namespace muattn::test {
namespace {

constexpr unsigned kSeconds = 1000;

// What waitpid() says of a child that returns body()'s value.
int status_of_child(const std::function<int()> &body) {
    const pid_t child = fork();
    if (child == 0) {
        alarm(kSeconds);
        _exit(body());
    }
    int status = -1;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
}

std::string in_words(int status) {
    return WIFSIGNALED(status) ? std::string("ended by ") + strsignal(WTERMSIG(status))
                               : "exit code " + std::to_string(WEXITSTATUS(status));
}

class Fork : public WithSettings {
protected:
    // A call of several tasks for each thread.
    Fork() {
        c.H = 8, c.n_q = c.n_k = 64, c.d = c.d_v = 16;
        tensors = make_tensors(c);
    }

    bool computes(const SpatialTensors &t, const std::vector<float> &expected) const {
        if (run(c, t) != MUATTN_OK) {
            return false;
        }
        const std::vector<float> out = t.out.elements();
        return memcmp(out.data(), expected.data(), out.size() * sizeof(float)) == 0;
    }

    SpatialCase c;
    SpatialTensors tensors;
};

TEST_F(Fork, ChildrenOfAParentInTheMiddleOfCallsCompute) {
#ifdef __SANITIZE_ADDRESS__
    GTEST_SKIP() << "the sanitizer's allocator hangs in a child of a process whose other threads allocate (GCC 12)";
#endif
    ASSERT_EQ(muattn_set_num_threads(2), MUATTN_OK);
    ASSERT_EQ(run(c, tensors), MUATTN_OK);
    const std::vector<float> expected = tensors.out.elements();
    std::atomic<bool> stop{false};
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < 4; i++) {
        callers.emplace_back([&] {
            const SpatialTensors own = make_tensors(c);
            while (!stop) {
                wrong += !computes(own, expected);
            }
        });
    }
    for (int i = 0; i < 200; i++) {
        const int status = status_of_child([&] {
            if (!computes(tensors, expected)) {
                return 1;
            }
            muattn_release_memory();
            return muattn_scratch_bytes() == 0 ? 0 : 2;
        });
        if (status != 0) {
            ADD_FAILURE() << "child " << i << ": " << in_words(status);
            break;
        }
    }
    stop = true;
    for (std::thread &caller : callers) {
        caller.join();
    }
    EXPECT_EQ(wrong, 0);
}

TEST_F(Fork, ChildrenOfChildrenCompute) {
    ASSERT_EQ(muattn_set_num_threads(3), MUATTN_OK);
    ASSERT_EQ(run(c, tensors), MUATTN_OK);
    const std::vector<float> expected = tensors.out.elements();
    const int status = status_of_child([&] {
        return computes(tensors, expected) &&
                       status_of_child([&] { return computes(tensors, expected) ? 0 : 1; }) == 0 &&
                       computes(tensors, expected)
                   ? 0
                   : 1;
    });
    EXPECT_EQ(status, 0) << in_words(status);
    EXPECT_TRUE(computes(tensors, expected));
}

TEST_F(Fork, ChildrenTakeOtherSettings) {
    ASSERT_EQ(muattn_set_num_threads(2), MUATTN_OK);
    ASSERT_EQ(run(c, tensors), MUATTN_OK);
    const std::vector<float> expected = tensors.out.elements();
    const int status = status_of_child([&] {
        for (const int threads : {5, 1, 2}) {
            if (muattn_set_num_threads(threads) != MUATTN_OK || !computes(tensors, expected)) {
                return 1;
            }
        }
        muattn_release_memory();
        return computes(tensors, expected) ? 0 : 1;
    });
    EXPECT_EQ(status, 0) << in_words(status);
    EXPECT_EQ(muattn_get_num_threads(), 2);
}

#ifdef __linux__
int threads_of_process() {
    int count = 0;
    for (const auto &thread : std::filesystem::directory_iterator("/proc/self/task")) {
        count += !thread.path().empty();
    }
    return count;
}

TEST_F(Fork, ChildrenHaveAsManyThreadsAsTheyAreTold) {
    ASSERT_EQ(muattn_set_num_threads(3), MUATTN_OK);
    ASSERT_EQ(run(c, tensors), MUATTN_OK);
    const int status = status_of_child([&] {
        if (threads_of_process() != 1 || muattn_get_num_threads() != 3 || run(c, tensors) != MUATTN_OK) {
            return 1;
        }
        return threads_of_process();
    });
    EXPECT_EQ(WEXITSTATUS(status), 3) << in_words(status);
}

// With one thread there is nothing to make others for; with fewer than there were none are added.
TEST_F(Fork, NoMoreThreadsThanAreWanted) {
    const int status = status_of_child([&] {
        const auto threads_with = [&](int n) {
            return muattn_set_num_threads(n) == MUATTN_OK && run(c, tensors) == MUATTN_OK ? threads_of_process() : -1;
        };
        return threads_with(1) == 1 && threads_with(4) == 4 && threads_with(2) == 4 && threads_with(5) == 5 ? 0 : 1;
    });
    EXPECT_EQ(status, 0) << in_words(status);
}
#endif

// A program that waits for its signals gets them: the library's threads take none.
TEST_F(Fork, SignalsGoToTheProgramsThreads) {
    const int status = status_of_child([&] {
        muattn_set_num_threads(4);
        if (run(c, tensors) != MUATTN_OK) {
            return 1;
        }
        sigset_t waited_for;
        sigemptyset(&waited_for);
        for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
            sigaddset(&waited_for, signal);
        }
        sigprocmask(SIG_BLOCK, &waited_for, nullptr);
        for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
            int got = 0;
            kill(getpid(), signal);
            if (sigwait(&waited_for, &got) != 0 || got != signal) {
                return 1;
            }
        }
        return 0;
    });
    EXPECT_EQ(status, 0) << in_words(status);
}

}  // namespace
}  // namespace muattn::test
