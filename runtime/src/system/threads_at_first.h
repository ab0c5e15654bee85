// How many threads calls use before anybody says so.
#pragma once

namespace muattn {

// MUATTN_NUM_THREADS, else OMP_NUM_THREADS, else the processors that this process may run on: those of its affinity mask, as many as
// its CPU quota pays for. At least 1; may be more than the pool has.
int threads_at_first();

// The processors that the CPU quotas of this process pay for, rounded up; 0: there is no quota. root is put before the names of files in
// /proc and of what they name: "", or a folder made up for a test.
int processors_of_quota(const char *root);

}  // namespace muattn
