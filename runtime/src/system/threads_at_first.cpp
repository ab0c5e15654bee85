#include "threads_at_first.h"

#include <climits>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "platform.h"

#if defined(__linux__)
#include <cstdio>
#endif

namespace muattn {
namespace {

// The first number of a list with commas, as OMP_NUM_THREADS has one for each level of nesting; 0 where there is none.
int number_in(const char *variable) {
    const char *const value = getenv(variable);
    if (value == nullptr) {
        return 0;
    }
    char *end = nullptr;
    const long n = strtol(value, &end, 10);
    end += strspn(end, " \t");
    return n < 1 || (*end != 0 && *end != ',') ? 0 : n < INT_MAX ? int(n) : INT_MAX;
}

#if defined(__linux__)
constexpr int kLongestName = 1024;

class Lines {
public:
    Lines(const char *root, const char *name) {
        char path[kLongestName];
        const int length = snprintf(path, sizeof path, "%s%s", root, name);
        file_ = length > 0 && length < kLongestName ? fopen(path, "re") : nullptr;
    }
    Lines(const Lines &) = delete;
    Lines &operator=(const Lines &) = delete;
    ~Lines() {
        if (file_ != nullptr) {
            fclose(file_);
        }
    }
    // The next one without its end, or null.
    char *next() {
        if (file_ == nullptr || fgets(line_, sizeof line_, file_) == nullptr) {
            return nullptr;
        }
        line_[strcspn(line_, "\n")] = 0;
        return line_;
    }

private:
    FILE *file_;
    char line_[kLongestName];
};

bool is_in_list(const char *list, const char *word) {
    const size_t length = strlen(word);
    while (*list != 0) {
        const size_t of_entry = strcspn(list, ",");
        if (of_entry == length && strncmp(list, word, length) == 0) {
            return true;
        }
        list += of_entry + (list[of_entry] == ',');
    }
    return false;
}

long long number_in_file(const char *root, const char *folder, const char *file) {
    char name[kLongestName];
    const int length = snprintf(name, sizeof name, "%s/%s", folder, file);
    if (length < 0 || length >= kLongestName) {
        return 0;
    }
    Lines lines(root, name);
    const char *const line = lines.next();
    return line != nullptr ? atoll(line) : 0;
}

// The processors that one control group pays for; 0: as many as there are.
double quota_of_group(const char *root, const char *folder, bool version_2) {
    long long quota = 0, period = 0;
    if (version_2) {
        char name[kLongestName];
        const int length = snprintf(name, sizeof name, "%s/cpu.max", folder);
        Lines lines(root, length < kLongestName ? name : "");
        const char *const line = lines.next();
        if (line == nullptr || sscanf(line, "%lld %lld", &quota, &period) != 2) {  // "max 100000"
            return 0;
        }
    } else {
        quota = number_in_file(root, folder, "cpu.cfs_quota_us");  // -1: none
        period = number_in_file(root, folder, "cpu.cfs_period_us");
    }
    return quota > 0 && period > 0 ? double(quota) / double(period) : 0;
}

// The least of a group's and those that it is in, up to where they are mounted.
double quota_of_path(const char *root, const char *mounted, const char *path, bool version_2) {
    char folder[kLongestName];
    const int length = snprintf(folder, sizeof folder, "%s%s", mounted, path);
    if (length < 0 || length >= kLongestName) {
        return 0;
    }
    double least = 0;
    for (;;) {
        const double quota = quota_of_group(root, folder, version_2);
        if (quota > 0 && (least == 0 || quota < least)) {
            least = quota;
        }
        char *const last = strrchr(folder, '/');
        if (strlen(folder) <= strlen(mounted) || last == nullptr) {
            return least;
        }
        *last = 0;
    }
}

// This process's group, to path, in the hierarchy of version 2 or in that of version 1 with the controller cpu.
bool find_group(const char *root, bool version_2, char (&path)[kLongestName]) {
    Lines groups(root, "/proc/self/cgroup");
    while (char *line = groups.next()) {  // number:controllers:path
        char *const controllers = strchr(line, ':');
        char *const group = controllers != nullptr ? strchr(controllers + 1, ':') : nullptr;
        if (group == nullptr) {
            continue;
        }
        *group = 0;
        if (version_2 ? controllers[1] == 0 : is_in_list(controllers + 1, "cpu")) {
            snprintf(path, sizeof path, "%s", group + 1);
            return true;
        }
    }
    return false;
}

// What follows of a group's path where `mounted_root` of its hierarchy is mounted; "" where the group is not below it, as that of a
// container seen from outside.
const char *below(const char *path, const char *mounted_root) {
    const size_t length = strcmp(mounted_root, "/") == 0 ? 0 : strlen(mounted_root);
    const bool is_below = strncmp(path, mounted_root, length) == 0 && (path[length] == '/' || path[length] == 0);
    return !is_below || strcmp(path, "/") == 0 || strncmp(path, "/..", 3) == 0 ? "" : path + length;
}
#endif

}  // namespace

int processors_of_quota([[maybe_unused]] const char *root) {
    double least = 0;
#if defined(__linux__)
    Lines mounts(root, "/proc/self/mountinfo");
    while (char *line = mounts.next()) {
        // number parent device root folder options, any number of others, - type source options
        char *const end = strstr(line, " - ");
        char mounted_root[kLongestName], mounted[kLongestName], type[32], options[kLongestName];
        if (end == nullptr || sscanf(line, "%*s %*s %*s %1023s %1023s", mounted_root, mounted) != 2 ||
            sscanf(end, " - %31s %*s %1023s", type, options) != 2) {
            continue;
        }
        const bool version_2 = strcmp(type, "cgroup2") == 0;
        char group[kLongestName];
        if ((version_2 || (strcmp(type, "cgroup") == 0 && is_in_list(options, "cpu"))) &&
            find_group(root, version_2, group)) {
            const double quota = quota_of_path(root, mounted, below(group, mounted_root), version_2);
            if (quota > 0 && (least == 0 || quota < least)) {
                least = quota;
            }
        }
    }
#endif
    if (least >= INT_MAX) {
        return INT_MAX;
    }
    const int whole = int(least);
    return whole < least ? whole + 1 : whole;
}

int threads_at_first() {
    for (const char *variable : {"MUATTN_NUM_THREADS", "OMP_NUM_THREADS"}) {
        if (const int n = number_in(variable)) {
            return n;
        }
    }
    const int processors = platform::processors(), quota = processors_of_quota("");
    const int n = quota > 0 && quota < processors ? quota : processors;
    return n < 1 ? 1 : n;
}

}  // namespace muattn
