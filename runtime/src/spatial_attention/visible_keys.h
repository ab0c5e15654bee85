// Which keys the queries of a batch entry see, as kernels read it.
#pragma once

#include <cstdint>

#include "common/error.h"
#include "common/memory.h"

namespace muattn {

// Query i sees key j if window_first <= j - i < window_last and j < key_length: causal, window and key lengths as one rule.
struct VisibleKeys {
    int32_t window_first, window_last, key_length;
};

// One for each batch entry, or one for all.
class VisibleKeysOfBatch {
public:
    VisibleKeysOfBatch() = default;
    VisibleKeysOfBatch(const VisibleKeysOfBatch &) = delete;
    VisibleKeysOfBatch &operator=(const VisibleKeysOfBatch &) = delete;
    ~VisibleKeysOfBatch() {
        if (data_ != inline_) {
            deallocate(data_);
        }
    }

    // count: 1, or the batch entries.
    muattn_status resize(int64_t count) {
        if (count > kInline) {
            data_ = static_cast<VisibleKeys *>(allocate(size_t(count) * sizeof(VisibleKeys)));
            if (data_ == nullptr) {
                data_ = inline_;
                return fail(MUATTN_OUT_OF_MEMORY, "out of memory: what %lld batch entries see",
                            static_cast<long long>(count));
            }
        }
        count_ = count;
        return MUATTN_OK;
    }
    int64_t count() const { return count_; }
    bool same_for_all() const { return count_ == 1; }
    VisibleKeys &operator[](int64_t b) { return data_[same_for_all() ? 0 : b]; }
    const VisibleKeys &operator[](int64_t b) const { return data_[same_for_all() ? 0 : b]; }

    static constexpr int64_t kInline = 32;  // more are allocated in every call

private:
    VisibleKeys inline_[kInline];
    VisibleKeys *data_ = inline_;
    int64_t count_ = 0;
};

}  // namespace muattn
