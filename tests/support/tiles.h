// The sizes at which kernels change their way: vectors, register tiles, tiles, chunks. They come from the kernel table that
// the library itself is built from, tuned numbers included.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/channel_attention/channels_first_map_numbers.h"
#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/channel_attention/channels_first_product_numbers.h"
#include "schedules/channel_attention/channels_last_map_numbers.h"
#include "schedules/channel_attention/channels_last_numbers.h"
#include "schedules/channel_attention/channels_last_product_numbers.h"
#include "schedules/channel_attention/map_rows_numbers.h"
#include "schedules/spatial_attention/few_keys_numbers.h"
#include "schedules/spatial_attention/general_numbers.h"
#include "schedules/spatial_attention/key_blocks_numbers.h"
#include "schedules/spatial_attention/logit_stats_numbers.h"
#include "schedules/spatial_attention/split_keys_numbers.h"

namespace muattn::test {

schedule::SpatialGeneral spatial_schedule(const std::string &backend);
schedule::SpatialSplitKeys split_keys_schedule(const std::string &backend);
schedule::SpatialFewKeys few_keys_schedule(const std::string &backend);
schedule::SpatialKeyBlocks key_blocks_schedule(const std::string &backend);
schedule::SpatialLogitStats logit_stats_schedule(const std::string &backend);
schedule::ChannelsLast channel_schedule(const std::string &backend);
std::vector<schedule::ChannelsLast> channel_schedules(
    const std::string &backend);  // with blocks of each size that is built
schedule::ChannelsFirst channel_first_schedule(const std::string &backend);

// Of the parts of channel attention's halves and gradients.
std::vector<schedule::ChannelsLastMap> map_schedules(const std::string &backend);
std::vector<schedule::ChannelsLastProduct> product_schedules(const std::string &backend);
schedule::ChannelsFirstMap map_first_schedule(const std::string &backend);
schedule::ChannelsFirstProduct product_first_schedule(const std::string &backend);
schedule::ChannelMapRows map_rows_schedule(const std::string &backend);

// The head dimension of the GPU kernel that a call takes: the first that holds d; 0 if none does.
int64_t gpu_head_dim(int64_t d);

// Each edge, one less and one more, without repetition and without what is below 1.
std::vector<int64_t> around(const std::vector<int64_t> &edges);

// 1, 2, ..., last.
std::vector<int64_t> up_to(int64_t last);

}  // namespace muattn::test
