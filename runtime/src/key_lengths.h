#pragma once

#include "error.h"
#include "memory.h"
#include "spatial_call.h"

namespace muattn {

// Key lengths as the kernel reads them: [B], or one number for all.
class KeyLengths {
public:
    muattn_status set(const SpatialCall &call, const int64_t *key_lengths) {
        count_ = key_lengths != nullptr ? call.B : 1;
        if (count_ > kInline) {
            data_ = static_cast<int32_t *>(allocate(size_t(count_) * sizeof(int32_t)));
            if (data_ == nullptr) {
                return fail(MUATTN_OUT_OF_MEMORY, "out of memory: key lengths of %lld batch entries",
                            static_cast<long long>(count_));
            }
        }
        for (int64_t b = 0; b < count_; b++) {
            data_[b] = int32_t(key_lengths != nullptr ? key_lengths[b] : call.n_k);
        }
        return MUATTN_OK;
    }
    KeyLengths() = default;
    KeyLengths(const KeyLengths &) = delete;
    KeyLengths &operator=(const KeyLengths &) = delete;
    ~KeyLengths() {
        if (data_ != inline_) {
            deallocate(data_);
        }
    }
    const int32_t *data() const { return data_; }

private:
    static constexpr int64_t kInline = 64;
    int32_t inline_[kInline];
    int32_t *data_ = inline_;
    int64_t count_ = 0;
};

}  // namespace muattn
