// Runs the steps of all heads of a call, and adds up what they give to gradients of numbers.
#include <algorithm>

#include "common/error.h"
#include "head.h"

namespace muattn {
namespace {

// Maps of so many bytes are in use at a time, where heads share their steps' loops, or those of one head of more.
constexpr int64_t kMapsBytes = INT64_C(16) << 20;
// Heads whose maps are no larger stay with one thread from step to step, where there are enough of them.
constexpr int64_t kMapsOfThread = INT64_C(2) << 20, kHeadsPerThread = 4;

// Of a head.
struct NumberGradients {
    double scale, multiplier;
};

// Sums over so many batch entries.
void write_number_gradients(const ChannelPartsCall &call, const NumberGradients *heads, int64_t B) {
    double of_multiplier = 0;
    for (int64_t h = 0; h < call.H; h++) {
        double of_scale = 0;
        for (int64_t b = 0; b < B; b++) {
            of_scale += heads[b * call.H + h].scale;
            of_multiplier += heads[b * call.H + h].multiplier;
        }
        if (call.d_scale != nullptr) {
            call.d_scale[h] = float(of_scale);
        }
    }
    if (call.d_output_multiplier != nullptr) {
        *call.d_output_multiplier = float(of_multiplier);
    }
}

// The steps of all heads.
class Heads {
public:
    Heads(const ChannelPartsCall &call, const ChannelSteps &steps, const ChannelParts &parts)
        : call_(call), steps_(steps), parts_(parts), count_(call.maps()) {
        HeadMaps maps;
        floats_ = HeadMaps::lay_out(maps, nullptr, parts, steps, call.d);
        Head::list_steps(list_, call, steps, parts);
    }

    muattn_status run(const Kernel &kernel) {
        const int64_t bytes = maps_bytes(), threads = muattn_get_num_threads();
        const bool alone = threads == 1 || (count_ >= kHeadsPerThread * threads && bytes <= kMapsOfThread);
        const int64_t group = alone ? 0 : std::clamp<int64_t>(kMapsBytes / bytes, 1, count_);
        const int64_t number_bytes = steps_.gradient ? count_ * int64_t(sizeof(NumberGradients)) : 0;
        const int64_t of_task = parts_.scratch_bytes + (alone ? Slab::block_bytes(bytes) : 0);
        const int64_t of_all =
            (alone ? 0 : Slab::block_bytes(group * bytes)) + (steps_.gradient ? Slab::block_bytes(number_bytes) : 0);
        MUATTN_RETURN_IF_ERROR(tasks_.reserve(alone ? count_ : INT64_MAX, of_task, of_all));
        if (steps_.gradient) {
            numbers_ = reinterpret_cast<NumberGradients *>(tasks_.shared(number_bytes / int64_t(sizeof(float))));
        }
        if (alone) {
            tasks_.run(count_, [&](int64_t number) { return run_alone(number); });
        } else {
            float *const memory = tasks_.shared(group * floats_);
            for (int64_t first = 0; first < count_; first += group) {
                run_group(first, std::min(group, count_ - first), memory);
            }
        }
        MUATTN_RETURN_IF_ERROR(tasks_.status(kernel));
        if (steps_.gradient) {
            write_number_gradients(call_, numbers_, call_.B);
        }
        return MUATTN_OK;
    }

private:
    int64_t maps_bytes() const { return floats_ * int64_t(sizeof(float)); }

    // use(head), with maps in this memory.
    template<typename Use>
    int with_head(int64_t number, float *memory, const Use &use) {
        HeadMaps maps;
        HeadMaps::lay_out(maps, memory, parts_, steps_, call_.d);
        return use(Head(call_, steps_, parts_, tasks_.context(), number, maps));
    }
    int take_numbers(int64_t number, const Head &head) {
        if (steps_.stats) {
            head.write_stats();
        }
        if (steps_.gradient) {
            numbers_[number] = {head.scale_gradient(), head.multiplier_gradient()};
        }
        return 0;
    }

    // All steps of a head, with maps in the task's own memory.
    int run_alone(int64_t number) {
        auto *const memory = static_cast<float *>(current_slab->push(size_t(maps_bytes())));
        const int error = with_head(number, memory, [&](const Head &head) {
            for (const Head::Tasks &step : list_) {
                for (int64_t task = 0; task < step.count; task++) {
                    if (const int of_task = head.run(step.step, task)) {
                        return of_task;
                    }
                }
            }
            return take_numbers(number, head);
        });
        current_slab->pop(memory);
        return error;
    }

    // Of some heads one step after the other.
    void run_group(int64_t first, int64_t count, float *memory) {
        const auto head_of_group = [&](int64_t index, const auto &use) {
            return with_head(first + index, memory + index * floats_, use);
        };
        for (const Head::Tasks &step : list_) {
            tasks_.run(count * step.count, [&](int64_t task) {
                return head_of_group(task / step.count,
                                     [&](const Head &head) { return head.run(step.step, task % step.count); });
            });
        }
        for (int64_t index = 0; index < count; index++) {
            head_of_group(index, [&](const Head &head) { return take_numbers(first + index, head); });
        }
    }

    const ChannelPartsCall &call_;
    const ChannelSteps &steps_;
    const ChannelParts &parts_;
    const int64_t count_;
    int64_t floats_ = 0;  // of a head's maps
    Head::Tasks list_[Head::kSteps];
    Tasks tasks_;
    NumberGradients *numbers_ = nullptr;
};

}  // namespace

muattn_status run_parts(const ChannelPartsCall &call, const ChannelSteps &steps, const Kernel *ChannelParts::*kernel) {
    if (steps.nothing() || call.maps() == 0) {
        write_number_gradients(call, nullptr, 0);
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend(call.tokens().tensor.device, &backend));
    ChannelParts parts;
    MUATTN_RETURN_IF_ERROR(choose_parts(parts, call, steps, backend));
    const Kernel &named = *(parts.*kernel != nullptr ? parts.*kernel : parts.product);
    MUATTN_RETURN_IF_ERROR(Heads(call, steps, parts).run(named));
    remember_kernel(named);
    return MUATTN_OK;
}

}  // namespace muattn
