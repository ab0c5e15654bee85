#include "support/tiles.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>

namespace muattn::test {
namespace {

struct TableRow {
    std::string operation, kind, backend;
    schedule::Machine machine;
    int parameters[8];
};

const TableRow table[] = {
#define MUATTN_KERNEL(operation, direction, dtype, kind, backend, symbol, ...) \
    {#operation, #kind, "cpu:" #backend, schedule::machine(schedule::MachineName::backend), {__VA_ARGS__}},
#include "kernel_table.inc"
#undef MUATTN_KERNEL
};

template<typename Schedule>
Schedule schedule_of(const std::string &operation, const std::string &kind, const std::string &backend,
                     Schedule (*defaults)(schedule::Machine)) {
    for (const TableRow &row : table) {
        if (row.operation == operation && row.kind == kind && row.backend == backend) {
            Schedule schedule = defaults(row.machine);
            schedule.override_with(row.parameters);
            return schedule;
        }
    }
    fprintf(stderr, "no kernel of %s/%s on %s\n", operation.c_str(), kind.c_str(), backend.c_str());
    abort();
}

}  // namespace

using schedule::ChannelAttentionFirstSchedule;
using schedule::ChannelAttentionSchedule;
using schedule::SpatialAttentionSchedule;
using schedule::SpatialAttentionShortSchedule;
using schedule::SpatialAttentionSplitSchedule;

SpatialAttentionSchedule spatial_schedule(const std::string &backend) {
    return schedule_of("spatial_attention", "plain", backend, &SpatialAttentionSchedule::defaults);
}

SpatialAttentionSplitSchedule split_schedule(const std::string &backend) {
    return schedule_of("spatial_attention", "split", backend, &SpatialAttentionSplitSchedule::defaults);
}

SpatialAttentionShortSchedule short_schedule(const std::string &backend) {
    return schedule_of("spatial_attention", "short_plain", backend, &SpatialAttentionShortSchedule::defaults);
}

ChannelAttentionSchedule channel_schedule(const std::string &backend) {
    return schedule_of<ChannelAttentionSchedule>("channel_attention", "last", backend, [](schedule::Machine m) {
        return ChannelAttentionSchedule::defaults(m);
    });
}

ChannelAttentionSchedule channel_triple_schedule(const std::string &backend) {
    return schedule_of<ChannelAttentionSchedule>("channel_attention", "triple", backend, [](schedule::Machine m) {
        return ChannelAttentionSchedule::defaults(m, true);
    });
}

ChannelAttentionFirstSchedule channel_first_schedule(const std::string &backend) {
    return schedule_of("channel_attention", "first", backend, &ChannelAttentionFirstSchedule::defaults);
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
