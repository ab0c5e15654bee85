#include "support/tiles.h"

#include <algorithm>
#include <set>
#include <stdexcept>

namespace muattn::test {
namespace {

struct TableRow {
    std::string operation, backend;
    schedule::Machine machine;
    int parameters[8];
};

const TableRow table[] = {
#define MUATTN_KERNEL(operation, direction, dtype, kind, backend, symbol, ...) \
    {#operation, "cpu:" #backend, schedule::machine(schedule::MachineName::backend), {__VA_ARGS__}},
#include "kernel_table.inc"
#undef MUATTN_KERNEL
};

template<typename Schedule>
Schedule schedule_of(const std::string &operation, const std::string &backend) {
    for (const TableRow &row : table) {
        if (row.operation == operation && row.backend == backend) {
            Schedule schedule = Schedule::defaults(row.machine);
            schedule.override_with(row.parameters);
            return schedule;
        }
    }
    throw std::logic_error("no kernel of " + operation + " on " + backend);
}

}  // namespace

schedule::SpatialAttentionSchedule spatial_schedule(const std::string &backend) {
    return schedule_of<schedule::SpatialAttentionSchedule>("spatial_attention", backend);
}

schedule::ChannelAttentionSchedule channel_schedule(const std::string &backend) {
    return schedule_of<schedule::ChannelAttentionSchedule>("channel_attention", backend);
}

std::vector<int64_t> around(const std::vector<int64_t> &edges) {
    std::set<int64_t> sizes;
    for (const int64_t edge : edges) {
        for (const int64_t size : {edge - 1, edge, edge + 1}) {
            if (size >= 1) {
                sizes.insert(size);
            }
        }
    }
    return {sizes.begin(), sizes.end()};
}

std::vector<int64_t> up_to(int64_t last) {
    std::vector<int64_t> sizes;
    for (int64_t size = 1; size <= last; size++) {
        sizes.push_back(size);
    }
    return sizes;
}

}  // namespace muattn::test
