#include "converted.h"

#include <algorithm>

#include "arguments.h"
#include "kernels/convert.h"

namespace muattn {
namespace {

class ConvertedCall {
public:
    ConvertedCall(const ChannelCall &call, const Kernel &kernel) : call_(call), kernel_(kernel) {}

    muattn_status run(int backend) {
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call_.q, &converter_));
        const int64_t heads = heads_at_once(), batch = heads / std::min(heads, call_.H);
        ChannelCall most;
        set(most, 0, batch, 0, std::min(heads, call_.H));
        KernelMemory memory;
        MUATTN_RETURN_IF_ERROR(memory.reserve(work_of(most, kernel_)));
        const int64_t floats = most.maps() * of_head();
        MUATTN_RETURN_IF_ERROR(tasks_.reserve(INT64_MAX, Slab::block_bytes(0),
                                              kTensors * Slab::block_bytes(floats * int64_t(sizeof(float)))));
        for (float *&copy : copies_) {
            copy = tasks_.shared(floats);
        }
        for (int64_t b = 0; b < call_.B; b += most.B) {
            for (int64_t h = 0; h < call_.H; h += most.H) {
                MUATTN_RETURN_IF_ERROR(run(b, std::min(most.B, call_.B - b), h, std::min(most.H, call_.H - h), memory));
            }
        }
        return tasks_.status(kernel_);
    }

private:
    static constexpr int kTensors = 4;  // q, k, v, out

    int64_t of_head() const { return call_.n * call_.d; }

    // A head at least. Several batch entries have all heads.
    int64_t heads_at_once() const {
        const int64_t heads = std::clamp<int64_t>(floats_at_once() / (kTensors * of_head()), 1, call_.maps());
        return heads > call_.H ? heads / call_.H * call_.H : heads;
    }

    void set(ChannelCall &call, int64_t b, int64_t batch, int64_t h, int64_t heads) const {
        static_cast<ChannelSetting &>(call) = call_;
        call.B = batch, call.H = heads;
        call.scale = {call_.scale.values + (call_.scale.differ ? h : 0), call_.scale.differ};
        const auto part = [&](const Argument &argument) {
            Argument result = argument;
            result.tensor.data = argument.row(b, h, 0);
            result.tensor.shape[0] = batch, result.tensor.shape[1] = heads;
            return result;
        };
        call.q = part(call_.q), call.k = part(call_.k), call.v = part(call_.v), call.out = part(call_.out);
    }

    muattn_status run(int64_t b, int64_t batch, int64_t h, int64_t heads, KernelMemory &memory) {
        ChannelCall call;
        set(call, b, batch, h, heads);
        Argument *const arguments[kTensors] = {&call.q, &call.k, &call.v, &call.out};
        Conversion conversions[kTensors];
        for (int i = 0; i < kTensors; i++) {
            const Argument given = *arguments[i];
            *arguments[i] = dense_floats(given, copies_[i]);
            conversions[i] = i < 3 ? Conversion{given, *arguments[i], converter_.widen}
                                   : Conversion{*arguments[i], given, converter_.round};
        }
        run_conversions(tasks_, conversions, 3);
        HostBinder binder(kernel_);
        MUATTN_RETURN_IF_ERROR(bind(binder, call, kernel_));
        MUATTN_RETURN_IF_ERROR(binder.run(memory));
        run_conversions(tasks_, conversions + 3, 1);
        return MUATTN_OK;
    }

    const ChannelCall &call_;
    const Kernel &kernel_;
    Converter converter_;
    Tasks tasks_;
    float *copies_[kTensors] = {};
};

}  // namespace

muattn_status run_converted(const ChannelCall &call, const Kernel &kernel, int backend) {
    if (!kHasOtherTypes) {  // its code is left out
        return no_kernel(backend);
    }
    return ConvertedCall(call, kernel).run(backend);
}

}  // namespace muattn
