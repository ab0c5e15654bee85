// The schedule of each generator, by the generator's name.
#pragma once
#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/channel_attention/channels_last_numbers.h"
#include "schedules/channel_attention/tiles_numbers.h"
#include "schedules/spatial_attention/block_numbers.h"
#include "schedules/spatial_attention/few_keys_numbers.h"
#include "schedules/spatial_attention/general_numbers.h"
#include "schedules/spatial_attention/key_blocks_numbers.h"
#include "schedules/spatial_attention/split_keys_numbers.h"

namespace muattn::schedule {

struct NoNumbers {
    static constexpr std::array<Number<NoNumbers>, 0> numbers() { return {}; }
};

namespace of {
using spatial_attention_general = SpatialGeneral;
using spatial_attention_few_keys = SpatialFewKeys;
using spatial_attention_split_keys = SpatialSplitKeys;
using spatial_attention_block = SpatialBlock;
using spatial_attention_key_blocks = SpatialKeyBlocks;
using channel_attention_channels_last = ChannelsLast;
using channel_attention_channels_first = ChannelsFirst;
using channel_attention_tiles = ChannelTiles;
using merge_general = NoNumbers;
}  // namespace of

}  // namespace muattn::schedule
