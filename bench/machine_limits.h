// What this machine can do at most, for the roofline: measured here and now, because it changes from minute to minute.
#pragma once

#include <cstdint>

struct MachineLimits {
    double gflops;  // of multiply-adds that touch nothing but registers, in the instructions of the current backend
    double gbytes;  // per second, read and written, of a copy that no cache holds
};

// With so many threads at once. Measured, in about a third of a second, unless that was done less than 20 seconds ago.
// Throws std::runtime_error where the current backend has no loop in machine_limits.cpp.
const MachineLimits &machine_limits(int threads);

// Of the last-level caches that so many threads have, together.
int64_t last_level_cache_bytes(int threads);
