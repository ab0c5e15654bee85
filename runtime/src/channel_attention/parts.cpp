// Which kernels a call of channel attention's halves or gradients runs, and how it is cut into tasks.
#include "parts.h"

#include "blocks.h"
#include "common/memory.h"
#include "schedules/channel_attention/channels_first_map_numbers.h"
#include "schedules/channel_attention/channels_first_product_numbers.h"
#include "schedules/channel_attention/channels_last_map_numbers.h"
#include "schedules/channel_attention/channels_last_product_numbers.h"
#include "schedules/channel_attention/map_rows_numbers.h"

namespace muattn {
namespace {

using schedule::ChannelMapRows;
using schedule::ChannelsFirstMap;
using schedule::ChannelsFirstProduct;
using schedule::ChannelsLastMap;
using schedule::ChannelsLastProduct;

constexpr int64_t round_up(int64_t x, int64_t to) { return (x + to - 1) / to * to; }

bool any_negative_stride(const ChannelPartsCall &call) {
    for (const auto *tensor :
         {&call.q, &call.k, &call.v, &call.out, &call.d_out, &call.map, &call.attention_map, &call.q_squares,
          &call.k_squares, &call.d_attention_map, &call.d_q, &call.d_k, &call.d_v}) {
        if (tensor->given && muattn::any_negative_stride({tensor})) {
            return true;
        }
    }
    return false;
}

Need need_of(const ChannelPartsCall &call, Layout layout, Direction direction = Direction::forward) {
    Need need{Operation::channel_attention, direction, {MUATTN_FLOAT32, MUATTN_FLOAT32, MUATTN_FLOAT32}};
    need.features.layout = layout;
    need.negative_strides = any_negative_stride(call);
    return need;
}

// A kernel's schedule; nothing is read of one that the call does not need.
template<typename Schedule, typename... Blocks>
Schedule schedule_or_none(const Kernel *kernel, Blocks... blocks) {
    return kernel != nullptr ? schedule_of<Schedule>(*kernel, blocks...) : Schedule{};
}

int block_vectors(const Kernel *kernel) { return kernel != nullptr ? kernel->features.block_vectors : 0; }

template<typename Map, typename Product>
void cut(ChannelParts &parts, const ChannelPartsCall &call, const Map &map, const Product &product) {
    const auto block_bytes = Slab::block_bytes;
    int64_t lanes = 1, scratch = 0;
    parts.padded = call.d;
    if (parts.map != nullptr) {
        lanes = map.lanes;
        parts.padded = std::max(parts.padded, map.padded(call.d));
        parts.map_tile = map.tile();
        parts.map_tiles = map.tiles(call.d);
        parts.spans = map.spans(call.maps(), call.n, call.d);
    }
    if (parts.product != nullptr) {
        lanes = product.lanes;
        parts.padded = std::max(parts.padded, product.padded(call.d));
        parts.token_group = product.group();
        parts.token_tiles = product.tiles(call.n);
        scratch = std::max(scratch, product.scratch_bytes(call.d, block_bytes));
    }
    if (parts.softmax != nullptr || parts.transpose != nullptr) {
        const auto rows = schedule_of<ChannelMapRows>(parts.softmax != nullptr ? *parts.softmax : *parts.transpose);
        lanes = rows.lanes;
        parts.row_tile = rows.tile_rows;
        parts.row_tiles = (call.d + rows.tile_rows - 1) / rows.tile_rows;
    }
    parts.padded = round_up(parts.padded, lanes);
    // Squares, which are summed only where a map is, take less than that.
    if (parts.map != nullptr) {
        scratch = std::max(scratch, map.scratch_bytes(parts.padded, block_bytes));
    }
    for (const Kernel *of_rows : {parts.softmax, parts.gradient, parts.stats}) {
        if (of_rows == nullptr) {
            continue;
        }
        const auto rows = schedule_of<ChannelMapRows>(*of_rows);
        scratch = std::max(
            scratch, rows.scratch_bytes(parts.padded - (parts.row_tiles - 1) * parts.row_tile, call.d, block_bytes));
    }
    // Columns of a map do not share places in the cache.
    parts.map_row = parts.padded + lanes;
    if (parts.map_row % 64 == 0) {
        parts.map_row += lanes;
    }
    // A task has copies of a span of two inputs where it sums over tokens, of a tile of two inputs and an output where it multiplies them.
    const int64_t span = (call.n + parts.spans - 1) / parts.spans,
                  groups = (call.n + parts.token_group - 1) / parts.token_group,
                  tile = (groups / std::max<int64_t>(parts.token_tiles, 1) + 1) * parts.token_group;
    const auto copies = [&](int64_t count, int64_t tokens) {
        return count * FloatRows::scratch_bytes(call.tokens(), std::min(tokens, call.n), call.d);
    };
    parts.scratch_bytes = scratch + std::max(parts.map != nullptr || parts.squares != nullptr ? copies(2, span) : 0,
                                             parts.product != nullptr ? copies(3, tile) : 0);
}

}  // namespace

muattn_status choose_parts(ChannelParts &parts, const ChannelPartsCall &call, const ChannelSteps &steps, int backend) {
    MUATTN_RETURN_IF_ERROR(find_converter(backend, call.tokens(), &parts.converter));
    bool all = true;
    const auto found = [&](const Kernel *kernel) {
        all = all && kernel != nullptr;
        return kernel;
    };
    const auto find = [&](Algorithm algorithm, Layout layout = Layout::channels_last,
                          Direction direction = Direction::forward) {
        return found(find_kernel(backend, algorithm, need_of(call, layout, direction)));
    };
    const Layout layout = call.channels_first ? Layout::channels_first : Layout::channels_last;
    if (steps.sums() != 0) {
        parts.map = call.channels_first
                        ? find(Algorithm::channels_first_map, layout)
                        : found(find_blocks<ChannelsLastMap>(backend, Algorithm::channels_last_map,
                                                             need_of(call, Layout::channels_last), call.d));
    }
    if (steps.products() != 0) {
        parts.product = call.channels_first
                            ? find(Algorithm::channels_first_product, layout)
                            : found(find_blocks<ChannelsLastProduct>(backend, Algorithm::channels_last_product,
                                                                     need_of(call, Layout::channels_last), call.d));
    }
    parts.squares = steps.squares ? find(Algorithm::squares, layout) : nullptr;
    parts.softmax = steps.softmax ? find(Algorithm::softmax) : nullptr;
    parts.transpose = steps.rows() ? find(Algorithm::transpose) : nullptr;
    parts.stats = steps.stats ? find(Algorithm::logit_stats) : nullptr;
    parts.gradient = steps.gradient ? find(Algorithm::gradient, Layout::channels_last, Direction::backward) : nullptr;
    if (!all) {
        return no_kernel(backend);
    }
    if (call.channels_first) {
        cut(parts, call, schedule_or_none<ChannelsFirstMap>(parts.map),
            schedule_or_none<ChannelsFirstProduct>(parts.product));
    } else {
        cut(parts, call, schedule_or_none<ChannelsLastMap>(parts.map, block_vectors(parts.map)),
            schedule_or_none<ChannelsLastProduct>(parts.product, block_vectors(parts.product)));
    }
    return MUATTN_OK;
}

}  // namespace muattn
