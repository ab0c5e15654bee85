#include "support/tiles.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <set>
#include <utility>

#include "runtime/src/common/kernel.h"
#include "schedules/all_numbers.h"
#include "support/backends.h"

namespace muattn::test {

using schedule::ChannelsFirst;
using schedule::ChannelsLast;
using schedule::SpatialFewKeys;
using schedule::SpatialGeneral;
using schedule::SpatialKeyBlocks;
using schedule::SpatialLogitStats;
using schedule::SpatialSplitKeys;

namespace {

struct TableRow {
    Operation operation;
    Algorithm algorithm;
    std::string backend;
    Features features;
    schedule::Machine machine;
    schedule::NumberValues numbers;
};

#define MUATTN_KERNEL(operation, direction, algorithm, types, backend, symbol, name, fields, generator, ...) \
    {Operation::operation,                                                                                   \
     Algorithm::algorithm,                                                                                   \
     std::string(name).substr(std::string(name).rfind('/') + 1),                                             \
     [] {                                                                                                    \
         Features f;                                                                                         \
         fields;                                                                                             \
         return f;                                                                                           \
     }(),                                                                                                    \
     schedule::machine(schedule::MachineName::backend),                                                      \
     schedule::values_by_name<schedule::of::generator>({__VA_ARGS__})},
const TableRow table[] = {
#include "gpu_kernel_table.inc"
#include "kernel_table.inc"
};
#undef MUATTN_KERNEL

// The tiles of a GPU are other numbers with other names: what counts in a test is where they end.
constexpr int kGpuRows = 32, kGpuKeys = 32, kGpuChannels = 32, kGpuTokens = 64;
constexpr SpatialGeneral kGpuSpatial{1, kGpuRows, 4, 8, 1, kGpuKeys};
// 512 keys: from there on they are split.
constexpr SpatialSplitKeys kGpuSplit{16, 4, 1, 2, kGpuKeys, kGpuKeys, 512, true};
constexpr ChannelsLast kGpuChannel{1, kGpuChannels, 4, 4, 1, kGpuTokens, kGpuChannels, 0};
constexpr ChannelsFirst kGpuFirst{1, 4, 8, kGpuChannels / 4, kGpuTokens, 4, 4, kGpuTokens, true};

const TableRow *row_of(Algorithm algorithm, const std::string &backend, int block_vectors = 0) {
    const auto row = std::find_if(std::begin(table), std::end(table), [&](const TableRow &r) {
        return r.operation != Operation::merge && r.algorithm == algorithm && r.backend == backend &&
               r.features.block_vectors == block_vectors;
    });
    return row != std::end(table) ? row : nullptr;
}

template<typename Schedule>
Schedule schedule_of(Algorithm algorithm, const std::string &backend) {
    const TableRow *row = row_of(algorithm, backend);
    if (row == nullptr) {
        fprintf(stderr, "no kernel of this algorithm on %s\n", backend.c_str());
        abort();
    }
    return overridden(Schedule::defaults(row->machine), row->numbers);
}

// Of the kernels with blocks of each size that is built.
template<typename Schedule>
std::vector<Schedule> schedules_of_blocks(Algorithm algorithm, const std::string &backend) {
    std::vector<Schedule> schedules;
    for (const int block_vectors : {0, 3, 2, 1}) {
        if (const TableRow *row = row_of(algorithm, backend, block_vectors)) {
            schedules.push_back(overridden(Schedule::defaults(row->machine, block_vectors), row->numbers));
        }
    }
    return schedules;
}

}  // namespace

SpatialGeneral spatial_schedule(const std::string &backend) {
    return is_gpu(backend) ? kGpuSpatial : schedule_of<SpatialGeneral>(Algorithm::general, backend);
}

SpatialSplitKeys split_keys_schedule(const std::string &backend) {
    return is_gpu(backend) ? kGpuSplit : schedule_of<SpatialSplitKeys>(Algorithm::split_keys, backend);
}

SpatialFewKeys few_keys_schedule(const std::string &backend) {
    return schedule_of<SpatialFewKeys>(Algorithm::few_keys, backend);
}

SpatialKeyBlocks key_blocks_schedule(const std::string &backend) {
    return schedule_of<SpatialKeyBlocks>(Algorithm::key_blocks, backend);
}

SpatialLogitStats logit_stats_schedule(const std::string &backend) {
    return schedule_of<SpatialLogitStats>(Algorithm::logit_stats, backend);
}

ChannelsLast channel_schedule(const std::string &backend) {
    return is_gpu(backend) ? kGpuChannel : schedule_of<ChannelsLast>(Algorithm::channels_last, backend);
}

std::vector<ChannelsLast> channel_schedules(const std::string &backend) {
    if (is_gpu(backend)) {
        return {kGpuChannel};
    }
    return schedules_of_blocks<ChannelsLast>(Algorithm::channels_last, backend);
}

std::vector<schedule::ChannelsLastMap> map_schedules(const std::string &backend) {
    return schedules_of_blocks<schedule::ChannelsLastMap>(Algorithm::channels_last_map, backend);
}

std::vector<schedule::ChannelsLastProduct> product_schedules(const std::string &backend) {
    return schedules_of_blocks<schedule::ChannelsLastProduct>(Algorithm::channels_last_product, backend);
}

schedule::ChannelsFirstMap map_first_schedule(const std::string &backend) {
    return schedule_of<schedule::ChannelsFirstMap>(Algorithm::channels_first_map, backend);
}

schedule::ChannelsFirstProduct product_first_schedule(const std::string &backend) {
    return schedule_of<schedule::ChannelsFirstProduct>(Algorithm::channels_first_product, backend);
}

schedule::ChannelMapRows map_rows_schedule(const std::string &backend) {
    return schedule_of<schedule::ChannelMapRows>(Algorithm::softmax, backend);
}

ChannelsFirst channel_first_schedule(const std::string &backend) {
    return is_gpu(backend) ? kGpuFirst : schedule_of<ChannelsFirst>(Algorithm::channels_first, backend);
}

int64_t gpu_head_dim(int64_t d) {
    int64_t first = 0;
    for (const TableRow &row : table) {
        const int64_t max_d = row.features.max_d;
        first = max_d >= d && (first == 0 || max_d < first) ? max_d : first;
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
