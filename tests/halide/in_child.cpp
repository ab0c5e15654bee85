#include "in_child.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <ostream>

#include "Halide.h"

namespace muattn::test {
namespace {

std::string read_all(int file) {
    std::string bytes;
    char part[4096];
    for (ssize_t n; (n = read(file, part, sizeof part)) > 0;) {
        bytes.append(part, size_t(n));
    }
    return bytes;
}

void write_all(int file, char kind, const void *data, size_t bytes) {
    std::string all(1, kind);
    all.append(static_cast<const char *>(data), bytes);
    for (size_t done = 0; done < all.size();) {
        const ssize_t n = write(file, all.data() + done, all.size() - done);
        if (n <= 0) {
            return;
        }
        done += size_t(n);
    }
}

[[noreturn]] void be_the_child(int file, const std::function<std::vector<float>()> &run) {
    try {
        const std::vector<float> values = run();
        write_all(file, 'v', values.data(), values.size() * sizeof(float));
    } catch (const Halide::Error &error) {
        write_all(file, 'e', error.what(), strlen(error.what()));
    }
    _exit(0);  // drivers' threads and destructors do not matter any more
}

}  // namespace

Outcome in_child(const std::function<std::vector<float>()> &run) {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return {{}, "no pipe"};
    }
    const pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        be_the_child(ends[1], run);
    }
    close(ends[1]);
    const std::string bytes = read_all(ends[0]);
    close(ends[0]);
    int status = 0;
    if (child < 0 || waitpid(child, &status, 0) != child) {
        return {{}, "no process"};
    }
    if (bytes.empty()) {
        return {{},
                WIFSIGNALED(status) ? std::string("signal: ") + strsignal(WTERMSIG(status)) : "ended without a word"};
    }
    if (bytes[0] == 'e') {
        return {{}, bytes.substr(1)};
    }
    std::vector<float> values((bytes.size() - 1) / sizeof(float));
    memcpy(values.data(), bytes.data() + 1, bytes.size() - 1);
    return {values, ""};
}

std::ostream &operator<<(std::ostream &out, const Outcome &outcome) {
    if (!outcome.failure.empty()) {
        return out << outcome.failure;
    }
    for (const float value : outcome.values) {
        out << value << " ";
    }
    return out;
}

}  // namespace muattn::test
