// The schedule of each generator, by the generator's name.
#pragma once
#include "schedules/channel_attention/channels_first_map_numbers.h"
#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/channel_attention/channels_first_product_numbers.h"
#include "schedules/channel_attention/channels_last_map_numbers.h"
#include "schedules/channel_attention/channels_last_numbers.h"
#include "schedules/channel_attention/channels_last_product_numbers.h"
#include "schedules/channel_attention/map_rows_numbers.h"
#include "schedules/channel_attention/squares_numbers.h"
#include "schedules/channel_attention/tiles_numbers.h"
#include "schedules/spatial_attention/block_numbers.h"
#include "schedules/spatial_attention/few_keys_numbers.h"
#include "schedules/spatial_attention/general_numbers.h"
#include "schedules/spatial_attention/key_blocks_numbers.h"
#include "schedules/spatial_attention/logit_stats_numbers.h"
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
using spatial_attention_logit_stats = SpatialLogitStats;
using channel_attention_channels_last = ChannelsLast;
using channel_attention_channels_first = ChannelsFirst;
using channel_attention_tiles = ChannelTiles;
using channel_attention_channels_last_map = ChannelsLastMap;
using channel_attention_channels_last_product = ChannelsLastProduct;
using channel_attention_channels_first_map = ChannelsFirstMap;
using channel_attention_channels_first_product = ChannelsFirstProduct;
using channel_attention_squares = ChannelSquares;
using channel_attention_softmax = ChannelMapRows;
using channel_attention_transpose = ChannelMapRows;
using channel_attention_gradient = ChannelMapRows;
using channel_attention_logit_stats = ChannelMapRows;
using merge_general = NoNumbers;
using convert_general = NoNumbers;
}  // namespace of

}  // namespace muattn::schedule
