// Runs the steps of all heads of a call, and adds up what they give to gradients of numbers.
#include <algorithm>

#include "common/error.h"
#include "head.h"
#include "kernels/bind.h"

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

}  // namespace

muattn_status run_parts(const ChannelPartsCall &call, const ChannelSteps &steps, const Kernel *ChannelParts::*kernel) {
    const int64_t heads = call.maps();
    if (steps.nothing() || heads == 0) {
        write_number_gradients(call, nullptr, 0);
        return no_work();
    }
    int backend = 0;
    MUATTN_RETURN_IF_ERROR(choose_backend((call.q.given ? call.q : call.v).tensor.device, &backend));
    ChannelParts parts;
    if (!choose_parts(parts, call, steps, backend)) {
        return no_kernel(backend);
    }
    Head::Tasks list[Head::kSteps];
    Head::list_steps(list, call, steps, parts);
    HeadMaps maps;
    const int64_t floats = HeadMaps::lay_out(maps, nullptr, parts, steps, call.d);
    const int64_t bytes = floats * int64_t(sizeof(float)), threads = muattn_get_num_threads();
    const int64_t numbers = steps.gradient ? heads * int64_t(sizeof(NumberGradients) / sizeof(float)) : 0;
    const int64_t number_bytes = numbers > 0 ? Slab::block_bytes(numbers * int64_t(sizeof(float))) : 0;
    const bool alone = threads == 1 || (heads >= kHeadsPerThread * threads && bytes <= kMapsOfThread);
    const int64_t group = std::clamp<int64_t>(kMapsBytes / bytes, 1, heads);
    Tasks tasks;
    if (alone) {
        MUATTN_RETURN_IF_ERROR(tasks.reserve(heads, parts.scratch_bytes + Slab::block_bytes(bytes), number_bytes));
    } else {
        MUATTN_RETURN_IF_ERROR(
            tasks.reserve(INT64_MAX, parts.scratch_bytes, group * Slab::block_bytes(bytes) + number_bytes));
    }
    auto *const number_gradients = numbers > 0 ? reinterpret_cast<NumberGradients *>(tasks.shared(numbers)) : nullptr;
    const auto finish = [&](int64_t number, const Head &head) {
        if (number_gradients != nullptr) {
            number_gradients[number] = {head.scale_gradient(), head.multiplier_gradient()};
        }
    };
    if (alone) {
        tasks.run(heads, [&](int64_t number) {
            auto *const memory = static_cast<float *>(current_slab->push(size_t(bytes)));
            HeadMaps of_head;
            HeadMaps::lay_out(of_head, memory, parts, steps, call.d);
            const Head head(call, steps, parts, tasks.context(), number, of_head);
            int error = 0;
            for (const Head::Tasks &step : list) {
                for (int64_t task = 0; task < step.count && error == 0; task++) {
                    error = head.run(step.step, task);
                }
            }
            finish(number, head);
            current_slab->pop(memory);
            return error;
        });
    } else {
        float *const memory = tasks.shared(group * (bytes / int64_t(sizeof(float))));
        for (int64_t first = 0; first < heads; first += group) {
            const int64_t count = std::min(group, heads - first);
            const auto of_head = [&](int64_t number, const auto &use) {
                HeadMaps maps_of_head;
                HeadMaps::lay_out(maps_of_head, memory + (number - first) * floats, parts, steps, call.d);
                return use(Head(call, steps, parts, tasks.context(), number, maps_of_head));
            };
            for (const Head::Tasks &step : list) {
                tasks.run(count * step.count, [&](int64_t task) {
                    return of_head(first + task / step.count,
                                   [&](const Head &head) { return head.run(step.step, task % step.count); });
                });
            }
            for (int64_t number = first; number < first + count; number++) {
                of_head(number, [&](const Head &head) { return finish(number, head), 0; });
            }
        }
    }
    const Kernel *const named = parts.*kernel != nullptr ? parts.*kernel : parts.product;
    MUATTN_RETURN_IF_ERROR(tasks.status(*named));
    if (number_gradients != nullptr) {
        write_number_gradients(call, number_gradients, call.B);
    }
    remember_kernel(*named);
    return MUATTN_OK;
}

}  // namespace muattn
