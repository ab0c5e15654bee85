// The tasks of a backward call.
#pragma once

#include "backward_call.h"
#include "backward_parts.h"
#include "kernels/convert.h"
#include "kernels/registry.h"

namespace muattn {

inline float *at(const Argument &argument, int64_t b, int64_t h, int64_t row) {
    const int64_t *s = argument.tensor.strides;
    return argument.data() + b * s[0] + h * s[1] + row * s[2];
}

// Makes it 0.
void clear(const Argument &gradient);

class BackwardTasks {
public:
    BackwardTasks(const SpatialBackwardCall &call, const Kernel &kernel, const schedule::SpatialKeyBlocks &schedule)
        : call_(call), forward_(call.forward), kernel_(kernel), schedule_(schedule), parts_(call, schedule) {}

    // Reserves memory, computes and writes all gradients.
    muattn_status run(int backend);

private:
    // Of a head and some rows: what d_scale, d_sink and d_output_multiplier are sums of.
    struct Sums {
        double scale = 0, sink = 0, multiplier = 0;
    };
    // Rows of a gradient that a task adds to.
    struct Target {
        float *data;
        int64_t row, head;  // strides
    };
    struct Map {
        int64_t b, h_kv;
    };

    // What a kernel call computes: keys from key on, and the queries that see some of them, [begin, end).
    struct Part {
        int64_t key, keys, begin, end;
    };
    // A map's queries of the stripe, and a span's keys: what kernels read, and where they add.
    struct StripeRows {
        FloatRows q, out, d_out;
        Target d_q;
    };
    struct SpanRows {
        FloatRows k, v, d_k, d_v;
    };

    muattn_status reserve();
    bool needs_kernels() const {
        return call_.wants_q || call_.wants_k || call_.wants_v || call_.wants_mask || call_.d_scale != nullptr;
    }
    bool sums_rows() const {
        return call_.d_scale != nullptr || call_.d_sink != nullptr || call_.d_output_multiplier != nullptr;
    }
    int64_t rows_of_stripe() const { return end_ - begin_; }
    int64_t maps() const { return forward_.B * forward_.Hk; }
    bool one_stripe() const { return forward_.n_q <= parts_.stripe; }
    int64_t copies_of_task(int64_t rows, int64_t keys) const;

    void clear_mask();
    int do_task(int64_t index);
    FloatRows of_queries(const Argument &argument, const Map &map);
    FloatRows of_keys(const Argument &argument, bool wanted, const Map &map, int64_t key, int64_t keys,
                      float *sums = nullptr);
    int do_map(const Map &map, int64_t share, const Target &mask);
    int do_spans(const Map &map, int64_t share, const StripeRows &stripe, const Target &mask);
    int do_span(const Map &map, int64_t span, const StripeRows &stripe, const Target &mask);
    int call_kernel(const Map &map, const Part &part, const StripeRows &stripe, const SpanRows &span,
                    const Target &mask);
    int run_with_mask(TaskArguments &arguments, const Part &part, const Target &mask) const;
    int run_with_sums_over_keys(TaskArguments &arguments, const Part &part, const Target &mask) const;
    Map map_of(int64_t chain, int64_t of_chain) const;
    Target query_gradient(const Map &map, int64_t share) const;
    Target mask_gradient(int64_t chain, int64_t part) const;

    int do_chunk(int64_t index);
    int sum_rows(Sums &sums, const Map &map, int64_t h, int64_t row, int64_t rows, const Target &d_q);
    double sink_sum(int64_t b, int64_t h, int64_t row, int64_t rows, const FloatRows &out,
                    const FloatRows &d_out) const;
    double multiplier_sum(int64_t b, int64_t h, int64_t row, int64_t rows, const FloatRows &out,
                          const FloatRows &d_out) const;
    void add_sums();
    void add_mask_parts();

    const SpatialBackwardCall &call_;
    const SpatialCall &forward_;
    const Kernel &kernel_;
    const schedule::SpatialKeyBlocks schedule_;
    const BackwardParts parts_;
    Tasks tasks_;
    int64_t begin_ = 0, end_ = 0;  // queries of the stripe
    Converter of_q_, of_kv_;       // out and d_out have q's type, d_k, v and d_v that of k
    float *partial_q_ = nullptr, *partial_mask_ = nullptr;
    float *sums_k_ = nullptr, *sums_v_ = nullptr;   // d_k and d_v, where those in 16 bits are added up over stripes
    Sums *chunk_sums_ = nullptr, *sums_ = nullptr;  // of a chunk of rows, and so far
    float *d_q_scale_ = nullptr;                    // [H]
};

}  // namespace muattn
