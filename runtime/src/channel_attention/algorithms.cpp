// The algorithms of channel attention on processors and on GPUs: one for each layout, or for both.
#include "algorithms.h"

#include <algorithm>

#include "blocks.h"
#include "schedules/channel_attention/channels_first_numbers.h"
#include "schedules/channel_attention/channels_last_numbers.h"
#include "schedules/channel_attention/tiles_numbers.h"

namespace muattn {
namespace {

using schedule::ChannelsFirst;
using schedule::ChannelsLast;
using schedule::ChannelTiles;

Need need_of(const ChannelCall &call) {
    Need need{Operation::channel_attention,
              Direction::forward,
              {call.q.tensor.dtype, call.k.tensor.dtype, call.out.tensor.dtype}};
    need.features.normalize = call.normalize;
    need.features.layout = call.channels_first ? Layout::channels_first : Layout::channels_last;
    need.negative_strides = any_negative_stride({&call.q, &call.k, &call.v, &call.out});
    return need;
}

namespace channels_last {

const Kernel *find(const ChannelCall &call, int backend, Need need) {
    return find_blocks<ChannelsLast>(backend, Algorithm::channels_last, need, call.d);
}

Work work(const ChannelCall &call, const Kernel &kernel) {
    const auto schedule = schedule_of<ChannelsLast>(kernel, kernel.features.block_vectors);
    return {call.maps() * schedule.tiles(call.d), schedule.scratch_bytes(call.d, call.normalize, Slab::block_bytes)};
}

}  // namespace channels_last

namespace channels_first {

const Kernel *find(const ChannelCall &, int backend, Need need) {
    return find_kernel(backend, Algorithm::channels_first, need);
}

Work work(const ChannelCall &call, const Kernel &kernel) {
    const auto schedule = schedule_of<ChannelsFirst>(kernel);
    const int64_t maps = call.maps();
    const int64_t tasks = maps * std::max(schedule.tiles(call.d) * schedule.spans(maps, call.n, call.d),
                                          (call.n + schedule.tile_tokens - 1) / schedule.tile_tokens);
    return {tasks, schedule.scratch_bytes(call.d, call.normalize, Slab::block_bytes),
            schedule.serial_bytes(maps, call.n, call.d, call.normalize, Slab::block_bytes)};
}

}  // namespace channels_first

namespace tiles {

const Kernel *find(const ChannelCall &, int backend, Need need) { return find_kernel(backend, Algorithm::tiles, need); }

Work work(const ChannelCall &, const Kernel &kernel) {
    Work work;
    work.shared_bytes = schedule_of<ChannelTiles>(kernel).shared_bytes();
    return work;
}

}  // namespace tiles

struct ChannelAlgorithm {
    const Kernel *(*find)(const ChannelCall &call, int backend, Need need);
    Work (*work)(const ChannelCall &call, const Kernel &kernel);
};
constexpr ChannelAlgorithm kOnProcessors[] = {{channels_last::find, channels_last::work},
                                              {channels_first::find, channels_first::work}};
constexpr ChannelAlgorithm kOnGpus[] = {{tiles::find, tiles::work}, {tiles::find, tiles::work}};

}  // namespace

Choice choose_kernel(const ChannelCall &call, int backend) {
    const bool on_gpu = device_of(backend) != MUATTN_CPU;
    const ChannelAlgorithm &algorithm = (on_gpu ? kOnGpus : kOnProcessors)[call.channels_first];
    Need need = need_of(call);
    const Kernel *kernel = algorithm.find(call, backend, need);
    if (kernel == nullptr && !on_gpu) {  // which reads copies
        need.types = {MUATTN_FLOAT32, MUATTN_FLOAT32, MUATTN_FLOAT32};
        kernel = algorithm.find(call, backend, need);
    }
    return kernel != nullptr ? Choice{kernel, algorithm.work(call, *kernel)} : Choice{};
}

Work work_of(const ChannelCall &call, const Kernel &kernel) {
    return kOnProcessors[call.channels_first].work(call, kernel);
}

bool has_spans(const Kernel &kernel) { return kernel.algorithm != Algorithm::channels_last; }

int32_t span_length(const ChannelCall &call, const Kernel &kernel) {
    return int32_t(kernel.algorithm == Algorithm::tiles
                       ? schedule_of<ChannelTiles>(kernel).span_steps(call.maps(), call.n, call.d)
                       : schedule_of<ChannelsFirst>(kernel).span_chunks(call.maps(), call.n, call.d));
}

}  // namespace muattn
