// The arguments of a kernel, in the order of its generator's inputs and outputs.
#pragma once

#include <HalideRuntime.h>

#include "common/bound_buffer.h"

namespace muattn {

class Arguments {
public:
    // A number that is the same for all of the call.
    void number(int32_t x) { next_number().i = x; }
    void number(float x) { next_number().f = x; }

protected:
    Arguments() = default;
    Arguments(const Arguments &) = delete;
    Arguments &operator=(const Arguments &) = delete;

    BoundBuffer &next_buffer() {
        if (buffer_count_ == kMostBuffers) {
            __builtin_trap();  // of no call: a kernel has more arguments than there is room for
        }
        BoundBuffer &buffer = buffers_[buffer_count_++];
        put(&buffer.buffer);
        return buffer;
    }
    // The first is left free for the user context.
    void **all() { return all_; }

private:
    static constexpr int kMostBuffers = 16, kMostNumbers = 8;
    union Number {
        int32_t i;
        float f;
    };

    Number &next_number() {
        if (number_count_ == kMostNumbers) {
            __builtin_trap();
        }
        put(&numbers_[number_count_]);
        return numbers_[number_count_++];
    }
    void put(void *argument) { all_[count_++] = argument; }

    Number numbers_[kMostNumbers];
    BoundBuffer buffers_[kMostBuffers];
    void *all_[1 + kMostBuffers + kMostNumbers];
    int count_ = 1, buffer_count_ = 0, number_count_ = 0;
};

}  // namespace muattn
