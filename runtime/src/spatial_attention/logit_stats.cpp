// muattn_spatial_logit_stats: check, then tiles of queries, each on the keys that some of them see, and sums over rows.
#include "common/logit_stats.h"

#include <algorithm>

#include "call.h"
#include "kernels/convert.h"
#include "kernels/registry.h"
#include "schedules/spatial_attention/logit_stats_numbers.h"
#include "system/floating_point.h"
#include "task_masks.h"

namespace muattn {
namespace {

using schedule::SpatialLogitStats;

class StatsTasks {
public:
    StatsTasks(const SpatialCall &call, const Kernel &kernel)
        : call_(call),
          kernel_(kernel),
          schedule_(schedule_of<SpatialLogitStats>(kernel)),
          tiles_(schedule_.tiles(call.n_q)),
          shares_(std::clamp<int64_t>(tiles_, 1, kMostShares)) {}

    muattn_status run(const Argument &stats, int backend) {
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call_.q, &of_q_));
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call_.k, &of_k_));
        const int64_t heads = call_.B * call_.H, rows = Slab::block_bytes(rows_bytes()),
                      scratch = rows + schedule_.scratch_bytes(call_.d, kRowStats, Slab::block_bytes) +
                                FloatRows::scratch_bytes(call_.q, schedule_.tile_rows(), call_.d) +
                                FloatRows::scratch_bytes(call_.k, call_.n_k, call_.d),
                      sums = heads * shares_ * int64_t(sizeof(LogitSums) / sizeof(float));
        MUATTN_RETURN_IF_ERROR(
            tasks_.reserve(heads * shares_, scratch, Slab::block_bytes(sums * int64_t(sizeof(float)))));
        auto *const of_shares = reinterpret_cast<LogitSums *>(tasks_.shared(sums));
        tasks_.run(heads * shares_, [&](int64_t task) {
            of_shares[task] = LogitSums();
            return do_share(task / shares_, task % shares_, of_shares[task]);
        });
        MUATTN_RETURN_IF_ERROR(tasks_.status(kernel_));
        for (int64_t head = 0; head < heads; head++) {
            LogitSums sum;
            for (int64_t share = 0; share < shares_; share++) {
                sum.add(of_shares[head * shares_ + share]);
            }
            const int64_t *s = stats.tensor.strides;
            sum.write(stats.data() + head / call_.H * s[0] + head % call_.H * s[1]);
        }
        remember_kernel(kernel_);
        return MUATTN_OK;
    }

private:
    static constexpr int64_t kMostShares = 16;  // of a head's tiles

    // Of each number of a tile's rows, and of all in bytes.
    int64_t row_floats() const { return (int64_t(schedule_.tile_rows()) + 31) / 32 * 32; }
    int64_t rows_bytes() const { return kRowStats * row_floats() * int64_t(sizeof(float)); }

    int do_share(int64_t head, int64_t share, LogitSums &sums) {
        auto *const memory = static_cast<float *>(current_slab->push(size_t(rows_bytes())));
        float *rows[kRowStats];
        for (int s = 0; s < kRowStats; s++) {
            rows[s] = memory + s * row_floats();
        }
        const float *const(&given)[kRowStats] = const_cast<const float *const(&)[kRowStats]>(rows);
        int error = 0;
        for (int64_t tile = share * tiles_ / shares_; tile < (share + 1) * tiles_ / shares_ && error == 0; tile++) {
            const int64_t row = tile * schedule_.tile_rows(),
                          count = std::min<int64_t>(schedule_.tile_rows(), call_.n_q - row);
            const VisibleKeys &visible = call_.visible[head / call_.H];
            const int64_t key = std::max<int64_t>(row + visible.window_first, 0),
                          end = std::min<int64_t>(row + count - 1 + visible.window_last, visible.key_length);
            if (key < end) {
                error = call_kernel(head, {head / call_.H, head % call_.H, 1, row, count, key, end - key}, rows);
                sums.add_rows(given, error == 0 ? count : 0);
            }
        }
        current_slab->pop(memory);
        return error;
    }

    // The arguments in the order of generators/spatial_attention/logit_stats.cpp.
    int call_kernel(int64_t head, const MaskPart &part, float *const (&rows)[kRowStats]) {
        FloatRows q(tasks_.context(), of_q_, rows_of(call_.q, part.b, part.h, 1, part.query, part.queries)),
            k(tasks_.context(), of_k_, rows_of(call_.k, part.b, part.h / call_.group(), 1, part.key, part.keys));
        for (FloatRows *read : {&q, &k}) {
            if (const int error = read->read()) {
                return error;
            }
        }
        const VisibleKeys &visible = call_.visible[part.b];
        TaskArguments arguments(tasks_.context());
        arguments.array(q.data(), {{call_.d, 1}, {part.queries, q.row_stride()}, {1, 0}, {1, 0}});
        arguments.array(k.data(), {{call_.d, 1}, {part.keys, k.row_stride()}, {1, 0}, {1, 0}});
        arguments.array(call_.scale.values + (call_.scale.differ ? head % call_.H : 0), {{1, 0}});
        arguments.number(call_.softcap);
        bind_masks(arguments, call_, part);
        const int64_t shift = part.query - part.key;
        arguments.number(int32_t(visible.window_first + shift));
        arguments.number(int32_t(visible.window_last + shift));
        for (float *const numbers : rows) {
            arguments.array(numbers, {{part.queries, 1}});
        }
        return arguments.run(kernel_);
    }

    const SpatialCall &call_;
    const Kernel &kernel_;
    const SpatialLogitStats schedule_;
    const int64_t tiles_, shares_;
    Converter of_q_, of_k_;
    Tasks tasks_;
};

// It has kernels of one kind.
Need need_of_stats(const SpatialCall &call) {
    Need need{Operation::spatial_attention, Direction::forward, {MUATTN_FLOAT32, MUATTN_FLOAT32, MUATTN_FLOAT32}};
    need.features.mask = Mask::any;
    need.features.softcap = Softcap::optional;
    need.negative_strides =
        any_negative_stride({&call.q, &call.k}) || (call.with_mask && any_negative_stride({&call.mask}));
    return need;
}

}  // namespace
}  // namespace muattn

extern "C" muattn_status muattn_spatial_logit_stats(const muattn_tensor *q, const muattn_tensor *k,
                                                    const muattn_spatial_options *options, const muattn_tensor *stats) {
    using namespace muattn;
    const DefaultFloatingPoint mode;
    if (!kHasSpatialLogitStats) {  // its code is left out
        return fail(MUATTN_UNSUPPORTED, "this build has no kernel for the statistics of spatial attention's logits");
    }
    SpatialCall call;
    MUATTN_RETURN_IF_ERROR(check_spatial_logits(call, q, k, or_defaults(options)));
    Argument checked{"stats", MUATTN_INVALID_STATS, {}};
    const Argument *const inputs[] = {&call.q, &call.k, &call.mask};
    MUATTN_RETURN_IF_ERROR(check_stats(checked, stats, inputs, call.with_mask ? 3 : 2));
    if (call.B == 0 || call.H == 0) {
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.q.tensor.device, &backend));
    const Kernel *kernel = find_kernel(backend, Algorithm::logit_stats, need_of_stats(call));
    return kernel != nullptr ? StatsTasks(call, *kernel).run(checked, backend) : no_kernel(backend);
}
