// The sizes at which kernels change their way: vectors, register tiles, tiles, chunks. They come from the kernel table that
// the library itself is built from, tuned numbers included.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "schedules/channel_attention_first_schedule.h"
#include "schedules/channel_attention_schedule.h"
#include "schedules/spatial_attention_schedule.h"
#include "schedules/spatial_attention_short_schedule.h"
#include "schedules/spatial_attention_split_schedule.h"

namespace muattn::test {

schedule::SpatialAttentionSchedule spatial_schedule(const std::string &backend);
schedule::SpatialAttentionSplitSchedule split_schedule(const std::string &backend);
schedule::SpatialAttentionShortSchedule short_schedule(const std::string &backend);
schedule::ChannelAttentionSchedule channel_schedule(const std::string &backend);
std::vector<schedule::ChannelAttentionSchedule> channel_schedules(const std::string &backend);  // of every kind
schedule::ChannelAttentionFirstSchedule channel_first_schedule(const std::string &backend);

// The head dimension of the GPU kernel that a call takes: the first that holds d; 0 if none does.
int64_t gpu_head_dim(int64_t d);

// Each edge, one less and one more, without repetition and without what is below 1.
std::vector<int64_t> around(const std::vector<int64_t> &edges);

// 1, 2, ..., last.
std::vector<int64_t> up_to(int64_t last);

}  // namespace muattn::test
