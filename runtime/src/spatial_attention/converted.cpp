#include "converted.h"

#include <algorithm>

#include "arguments.h"
#include "kernels/convert.h"

namespace muattn {
namespace {

// Batch entries, key/value heads and queries of a call: several batch entries have all heads, several heads all queries.
struct Part {
    int64_t b, batch, h_kv, heads_kv, query, queries;
};

// The elements of a tensor of a call that a part has. broadcasts: a dimension of 1 is the same for all, and stays.
Argument part_of(const Argument &argument, const int64_t (&first)[4], const int64_t (&sizes)[4], bool broadcasts) {
    Argument result = argument;
    muattn_tensor &t = result.tensor;
    int64_t offset = 0;
    for (int dim = 0; dim < 4; dim++) {
        if (broadcasts && t.shape[dim] == 1) {
            continue;
        }
        offset += first[dim] * t.strides[dim];
        t.shape[dim] = sizes[dim];
    }
    t.data = static_cast<uint8_t *>(t.data) + offset * int64_t(argument.element_bytes());
    return result;
}

PerHead part_of(const PerHead &numbers, int64_t h) {
    return {numbers.values + (numbers.differ ? h : 0), numbers.differ};
}

// What lives from one parallel step to the next, of a part; one map may take more.
constexpr int64_t kSerialBytes = INT64_C(16) << 20;

class CallInParts {
public:
    CallInParts(const SpatialCall &call, const Choice &choice)
        : call_(call), kernel_(*choice.kernel), choice_(choice) {}

    muattn_status run(int backend) {
        MUATTN_RETURN_IF_ERROR(find_converter(backend, call_.q, &of_q_));
        if (kernel_.types.kv != call_.k.tensor.dtype) {
            MUATTN_RETURN_IF_ERROR(find_converter(backend, call_.k, &of_kv_));
        }
        with_own_lse_ = kernel_.features.lse && !call_.with_lse;
        Part most;
        MUATTN_RETURN_IF_ERROR(choose_part(most));
        KernelMemory memory;
        SpatialCall of_most;
        MUATTN_RETURN_IF_ERROR(set(of_most, most));
        MUATTN_RETURN_IF_ERROR(memory.reserve(work_of(of_most, kernel_)));
        int64_t floats = 0;
        for (const int64_t of_tensor : {q_floats(most), kv_floats(most, call_.d), kv_floats(most, call_.d_v),
                                        out_floats(most), lse_floats(most)}) {
            floats += Slab::block_bytes(of_tensor * int64_t(sizeof(float)));
        }
        MUATTN_RETURN_IF_ERROR(tasks_.reserve(INT64_MAX, Slab::block_bytes(0), floats));
        q_ = tasks_.shared(q_floats(most));
        k_ = tasks_.shared(kv_floats(most, call_.d));
        v_ = tasks_.shared(kv_floats(most, call_.d_v));
        out_ = tasks_.shared(out_floats(most));
        lse_ = tasks_.shared(lse_floats(most));
        for (Part part{0, most.batch, 0, most.heads_kv, 0, most.queries}; part.b < call_.B;) {
            part.batch = std::min(most.batch, call_.B - part.b);
            part.heads_kv = std::min(most.heads_kv, call_.Hk - part.h_kv);
            part.queries = std::min(most.queries, call_.n_q - part.query);
            MUATTN_RETURN_IF_ERROR(run(part, memory));
            part.query += part.queries;
            if (part.query == call_.n_q) {
                part.query = 0;
                part.h_kv += part.heads_kv;
            }
            if (part.h_kv == call_.Hk) {
                part.h_kv = 0;
                part.b += part.batch;
            }
        }
        return tasks_.status(kernel_);
    }

private:
    static int64_t maps(const Part &part) { return part.batch * part.heads_kv; }
    int64_t rows(const Part &part) const { return maps(part) * call_.group() * part.queries; }
    int64_t q_floats(const Part &part) const { return of_q_.widen != nullptr ? rows(part) * call_.d : 0; }
    int64_t out_floats(const Part &part) const { return of_q_.round != nullptr ? rows(part) * call_.d_v : 0; }
    int64_t lse_floats(const Part &part) const { return with_own_lse_ ? rows(part) : 0; }
    int64_t kv_floats(const Part &part, int64_t columns) const {
        return of_kv_.widen != nullptr ? maps(part) * call_.n_k * columns : 0;
    }
    int64_t all_floats(const Part &part) const {
        return q_floats(part) + out_floats(part) + lse_floats(part) + kv_floats(part, call_.d + call_.d_v);
    }

    // The largest: as much as is copied at once.
    muattn_status choose_part(Part &part) const {
        const int64_t most = floats_at_once();
        part = {0, 1, 0, 1, 0, call_.n_q};
        SpatialCall one_map;
        MUATTN_RETURN_IF_ERROR(set(one_map, part));
        const int64_t of_map = std::max<int64_t>(all_floats(part), 1),
                      serial = std::max<int64_t>(work_of(one_map, kernel_).serial_bytes, 1);
        if (of_map > most && choice_.queries_together != 0) {
            part.queries = choice_.queries_together;
            const int64_t of_tile = std::max<int64_t>(all_floats(part), 1);
            part.queries = std::min(part.queries * std::max<int64_t>(most / of_tile, 1), call_.n_q);
            return MUATTN_OK;
        }
        const int64_t maps = std::clamp<int64_t>(std::min(most / of_map, kSerialBytes / serial), 1, call_.B * call_.Hk);
        part.heads_kv = std::min(maps, call_.Hk);
        part.batch = maps / part.heads_kv;
        if (!call_.visible.same_for_all()) {  // memory is reserved before the first part
            part.batch = std::min(part.batch, VisibleKeysOfBatch::kInline);
        }
        return MUATTN_OK;
    }

    muattn_status run(const Part &part, KernelMemory &memory) {
        SpatialCall call;
        MUATTN_RETURN_IF_ERROR(set(call, part));
        Conversion before[3], after[1];
        int reads = 0, writes = 0;
        const auto widen = [&](Argument &argument, const Converter &converter, float *floats) {
            if (converter.widen != nullptr) {
                before[reads] = {argument, dense_floats(argument, floats), converter.widen};
                argument = before[reads++].to;
            }
        };
        widen(call.q, of_q_, q_);
        widen(call.k, of_kv_, k_);
        widen(call.v, of_kv_, v_);
        if (part.query != 0) {  // those of the part before are still there
            reads = of_q_.widen != nullptr ? 1 : 0;
        }
        if (of_q_.round != nullptr) {
            after[writes] = {dense_floats(call.out, out_), call.out, of_q_.round};
            call.out = after[writes++].from;
        }
        run_conversions(tasks_, before, reads);
        HostBinder binder(kernel_);
        MUATTN_RETURN_IF_ERROR(bind(binder, call, kernel_));
        MUATTN_RETURN_IF_ERROR(binder.run(memory));
        run_conversions(tasks_, after, writes);
        return MUATTN_OK;
    }

    // The call for a part alone: what queries see is counted from its first.
    muattn_status set(SpatialCall &call, const Part &part) const {
        const int64_t group = call_.group(), h = part.h_kv * group, heads = part.heads_kv * group;
        const auto of_queries = [&](const Argument &argument) {
            return part_of(argument, {part.b, h, part.query, 0}, {part.batch, heads, part.queries, argument.size(3)},
                           false);
        };
        const auto of_keys = [&](const Argument &argument) {
            return part_of(argument, {part.b, part.h_kv, 0, 0},
                           {part.batch, part.heads_kv, call_.n_k, argument.size(3)}, false);
        };
        call.q = of_queries(call_.q);
        call.out = of_queries(call_.out);
        call.k = of_keys(call_.k);
        call.v = of_keys(call_.v);
        if (call_.with_row_scales()) {
            call.k_scale = of_keys(call_.k_scale);
            call.v_scale = of_keys(call_.v_scale);
        }
        call.with_lse = call_.with_lse || with_own_lse_;
        if (call_.with_lse) {
            call.lse = of_queries(call_.lse);
        } else if (with_own_lse_) {
            call.lse.tensor = {lse_,
                               MUATTN_FLOAT32,
                               MUATTN_CPU,
                               {part.batch, heads, part.queries, 1},
                               {heads * part.queries, part.queries, 1, 1},
                               0};
        }
        call.with_mask = call_.with_mask;
        if (call.with_mask) {
            call.mask =
                part_of(call_.mask, {part.b, h, part.query, 0}, {part.batch, heads, part.queries, call_.n_k}, true);
        }
        call.with_key_lengths = call_.with_key_lengths;
        call.B = part.batch, call.H = heads, call.Hk = part.heads_kv, call.n_q = part.queries;
        call.n_k = call_.n_k, call.d = call_.d, call.d_v = call_.d_v;
        call.output_multiplier = call_.output_multiplier, call.softcap = call_.softcap;
        call.scale = part_of(call_.scale, h);
        call.sink = part_of(call_.sink, h);
        const auto query = int32_t(part.query);
        call.window_first = call_.window_first + query, call.window_last = call_.window_last + query;
        MUATTN_RETURN_IF_ERROR(call.visible.resize(call_.visible.same_for_all() ? 1 : part.batch));
        for (int64_t b = 0; b < call.visible.count(); b++) {
            const VisibleKeys &visible = call_.visible[part.b + b];
            call.visible[b] = {visible.window_first + query, visible.window_last + query, visible.key_length};
        }
        return MUATTN_OK;
    }

    const SpatialCall &call_;
    const Kernel &kernel_;
    const Choice &choice_;
    Converter of_q_, of_kv_;
    bool with_own_lse_ = false;
    Tasks tasks_;
    float *q_ = nullptr, *k_ = nullptr, *v_ = nullptr, *out_ = nullptr, *lse_ = nullptr;
};

}  // namespace

bool needs_parts(const SpatialCall &call, const Choice &choice) {
    const Kernel &kernel = *choice.kernel;
    const bool takes_types = kernel.types == Types{call.q.tensor.dtype, call.k.tensor.dtype, call.out.tensor.dtype};
    const bool with_own_lse = kernel.features.lse && !call.with_lse && !call.k.is_float();
    return !takes_types || with_own_lse || (call.with_row_scales() && choice.work.serial_bytes > kSerialBytes);
}

muattn_status run_in_parts(const SpatialCall &call, const Choice &choice, int backend) {
    if (!kHasOtherTypes) {  // its code is left out
        return no_kernel(backend);
    }
    return CallInParts(call, choice).run(backend);
}

}  // namespace muattn
