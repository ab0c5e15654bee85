#include "support/tiles.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <set>
#include <utility>

#include "support/backends.h"

namespace muattn::test {

using schedule::ChannelsFirst;
using schedule::ChannelsLast;
using schedule::SpatialGeneral;
using schedule::SpatialFewKeys;
using schedule::SpatialSplitKeys;

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

// The tiles of a GPU are other numbers with other names: what counts in a test is where they end.
constexpr int kGpuRows = 32, kGpuKeys = 32, kGpuChannels = 32, kGpuTokens = 64;
constexpr SpatialGeneral kGpuSpatial{1, kGpuRows, 4, 8, 1, kGpuKeys};
// 512 keys: from there on they are split.
constexpr SpatialSplitKeys kGpuSplit{16, 4, 1, 2, kGpuKeys, kGpuKeys, 512, true};
constexpr ChannelsLast kGpuChannel{1, kGpuChannels, 4, 4, 1, kGpuTokens, kGpuChannels, 0};
constexpr ChannelsFirst kGpuFirst{1, 4, 8, kGpuChannels / 4, kGpuTokens, 4, 4, kGpuTokens, true};

const TableRow *row_of(const std::string &operation, const std::string &kind, const std::string &backend) {
    const auto row = std::find_if(std::begin(table), std::end(table), [&](const TableRow &r) {
        return r.operation == operation && r.kind == kind && r.backend == backend;
    });
    return row != std::end(table) ? row : nullptr;
}

template<typename Schedule>
Schedule overridden(Schedule defaults, const TableRow &row) {
    defaults.override_with(row.parameters);
    return defaults;
}

template<typename Schedule>
Schedule schedule_of(const std::string &operation, const std::string &kind, const std::string &backend,
                     Schedule (*defaults)(schedule::Machine)) {
    const TableRow *row = row_of(operation, kind, backend);
    if (row == nullptr) {
        fprintf(stderr, "no kernel of %s/%s on %s\n", operation.c_str(), kind.c_str(), backend.c_str());
        abort();
    }
    return overridden(defaults(row->machine), *row);
}

}  // namespace

SpatialGeneral spatial_schedule(const std::string &backend) {
    return is_gpu(backend) ? kGpuSpatial
                           : schedule_of("spatial_attention", "plain", backend, &SpatialGeneral::defaults);
}

SpatialSplitKeys split_schedule(const std::string &backend) {
    return is_gpu(backend)
               ? kGpuSplit
               : schedule_of("spatial_attention", "split", backend, &SpatialSplitKeys::defaults);
}

SpatialFewKeys short_schedule(const std::string &backend) {
    return schedule_of("spatial_attention", "short_plain", backend, &SpatialFewKeys::defaults);
}

ChannelsLast channel_schedule(const std::string &backend) {
    return is_gpu(backend)
               ? kGpuChannel
               : schedule_of<ChannelsLast>("channel_attention", "last", backend, [](schedule::Machine m) {
                     return ChannelsLast::defaults(m);
                 });
}

std::vector<ChannelsLast> channel_schedules(const std::string &backend) {
    if (is_gpu(backend)) {
        return {kGpuChannel};
    }
    std::vector<ChannelsLast> schedules;
    for (const auto &[kind, block_vectors] : {std::pair{"last", 0}, {"triple", 3}, {"pair", 2}}) {
        if (const TableRow *row = row_of("channel_attention", kind, backend)) {
            schedules.push_back(overridden(ChannelsLast::defaults(row->machine, block_vectors), *row));
        }
    }
    return schedules;
}

ChannelsFirst channel_first_schedule(const std::string &backend) {
    return is_gpu(backend)
               ? kGpuFirst
               : schedule_of("channel_attention", "first", backend, &ChannelsFirst::defaults);
}

int64_t gpu_head_dim(int64_t d) {
    int64_t first = 0;
    for (const int64_t head_dim : {
#define MUATTN_GPU_KERNEL(operation, direction, dtype, kind, head_dim, name, backend, symbol) int64_t(head_dim),
#include "gpu_kernel_table.inc"
#undef MUATTN_GPU_KERNEL
             int64_t(0)}) {
        first = head_dim >= d && (first == 0 || head_dim < first) ? head_dim : first;
    }
    return first;
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
