// The steps of one head of a call, cut into tasks: what a step reads, an earlier one has written.
#pragma once

#include "common/logit_stats.h"
#include "head_tensors.h"
#include "parts.h"

namespace muattn {

// What is kept of a head from step to step.
struct HeadMaps {
    // Maps have rows one after the other in each column, so that these lie in the lanes of vectors.
    float *s = nullptr, *m = nullptr;              // Q^T K; d_out^T V. Then transposed: the attention map; w
    float *a = nullptr, *w = nullptr;              // the attention map; the gradient of Q^T K, without the scale
    float *s_parts = nullptr, *m_parts = nullptr;  // of each span
    float *squares[2] = {};                        // of channels of Q, of K; 1 where they are not normalised
    float *square_parts[2] = {};                   // of each span
    float *g = nullptr, *d = nullptr;              // of each row: the scale's gradient, the output multiplier's
    float *c_q = nullptr, *c_k = nullptr;          // factors of Q and K in their own gradients
    float *c_k_parts = nullptr;                    // of each tile of rows
    float *stats[kRowStats] = {};                  // of each row

    // In memory that begins at floats, or only counted: how many floats there are.
    static int64_t lay_out(HeadMaps &maps, float *floats, const ChannelParts &parts, const ChannelSteps &steps,
                           int64_t d);
};

// Each step is a number of tasks, run(i) for i below it; they give 0, or Halide's error.
class Head {
public:
    Head(const ChannelPartsCall &call, const ChannelSteps &steps, const ChannelParts &parts, CallContext &context,
         int64_t number, const HeadMaps &maps)
        : call_(call),
          steps_(steps),
          parts_(parts),
          context_(context),
          b_(number / call.H),
          h_(number % call.H),
          maps_(maps) {}

    using Step = int (Head::*)(int64_t task) const;
    struct Tasks {
        Step step;
        int64_t count;
    };
    static constexpr int kSteps = 5;
    // In their order.
    static void list_steps(Tasks (&list)[kSteps], const ChannelPartsCall &call, const ChannelSteps &steps,
                           const ChannelParts &parts);

    int run(Step step, int64_t task) const { return (this->*step)(task); }
    // When all are done: this head's part of the gradient of its scale, and of the output multiplier.
    double scale_gradient() const { return sum(maps_.g); }
    double multiplier_gradient() const { return sum(maps_.d); }
    void write_stats() const;

private:
    static constexpr int64_t kRowsToAdd = 16;  // of a map, in a task that adds the parts of spans

    double sum(const float *of_rows) const;
    static int64_t sums_of_span(const ChannelSteps &steps, const ChannelParts &parts);
    Tokens tokens_of(const ChannelPartsCall::Tensor &tensor, const TokenRange &range) const;
    int sum_tokens(int64_t task) const;
    int sum_squares(int of_k, int64_t span, int64_t first, int64_t tokens) const;
    int sum_products(bool d_map, int64_t tile, int64_t span, int64_t first, int64_t tokens) const;
    int add_spans(int64_t task) const;
    int do_rows(int64_t task) const;
    int transpose_maps(int64_t task) const;
    int multiply_tokens(int64_t task) const;

    const ChannelPartsCall &call_;
    const ChannelSteps &steps_;
    const ChannelParts &parts_;
    CallContext &context_;
    const int64_t b_, h_;
    const HeadMaps &maps_;
};

}  // namespace muattn
