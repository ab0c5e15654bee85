// Wrong arguments, for the tables of errors.
#pragma once

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "muattn/muattn.h"

namespace muattn::test {

// A number that is no enumerator, as a C program may pass it.
template<typename Enum>
Enum unknown_value(int number = 99) {
    static_assert(sizeof(Enum) == sizeof(int));
    Enum value;
    memcpy(&value, &number, sizeof value);
    return value;
}

// The status and the message that a call with wrong arguments gives: its own, no other call's before it.
template<typename Call>
std::pair<std::string, std::string> refusal_of(const Call &call) {
    muattn_set_num_threads(0);
    const muattn_status status = call();
    return {muattn_status_name(status), muattn_last_error()};
}

// What can be wrong with any tensor, whatever its part in the call. Its message holds the tensor's name and 'says'.
struct TensorFault {
    const char *name;
    std::function<void(muattn_tensor &)> damage;
    const char *says;
};

inline std::vector<TensorFault> tensor_faults() {
    constexpr int64_t kMin = std::numeric_limits<int64_t>::min(), kMax = std::numeric_limits<int64_t>::max();
    std::vector<TensorFault> faults{
        {"data is null", [](muattn_tensor &t) { t.data = nullptr; }, ".data must not be null"},
        {"data is not aligned", [](muattn_tensor &t) { t.data = static_cast<char *>(t.data) + 2; },
         ".data must be aligned"},
        {"unknown dtype", [](muattn_tensor &t) { t.dtype = unknown_value<muattn_dtype>(); }, ".dtype"},
        {"negative dtype", [](muattn_tensor &t) { t.dtype = unknown_value<muattn_dtype>(-1); }, ".dtype"},
        {"unknown device", [](muattn_tensor &t) { t.device = unknown_value<muattn_device>(); }, ".device"},
    };
    static constexpr const char *kShape[] = {".shape[0]", ".shape[1]", ".shape[2]", ".shape[3]"};
    for (int dim = 0; dim < 4; dim++) {
        for (const int64_t size : {int64_t(-1), kMin, (int64_t(1) << 30) + 1, int64_t(1) << 31, kMax}) {
            faults.push_back({"a shape out of range", [=](muattn_tensor &t) { t.shape[dim] = size; }, kShape[dim]});
        }
    }
    for (int dim = 0; dim < 3; dim++) {
        for (const int64_t stride : {kMin, kMax, int64_t(1) << 31, -(int64_t(1) << 31), int64_t(1) << 62}) {
            faults.push_back(
                {"a stride that spans too much", [=](muattn_tensor &t) { t.strides[dim] = stride; }, "spans 2^31"});
        }
    }
    faults.push_back({"sizes whose product spans too much",
                      [](muattn_tensor &t) {
                          t.shape[0] = t.shape[1] = t.shape[2] = t.shape[3] = int64_t(1) << 30;
                          t.strides[0] = t.strides[1] = t.strides[2] = t.strides[3] = 0;
                      },
                      "spans 2^31"});
    faults.push_back({"2^31 elements, dense",
                      [](muattn_tensor &t) {
                          t.shape[0] = t.shape[1] = int64_t(1) << 10, t.shape[2] = int64_t(1) << 11, t.shape[3] = 1;
                          t.strides[0] = t.strides[1] = t.strides[2] = t.strides[3] = 0;
                      },
                      "spans 2^31"});
    return faults;
}

// Only where the innermost dimension has more than one index.
inline std::vector<TensorFault> inner_stride_faults() {
    std::vector<TensorFault> faults;
    for (const int64_t stride : {0, 2, -1}) {
        faults.push_back(
            {"innermost stride", [=](muattn_tensor &t) { t.strides[3] = stride; }, ".strides[3] must be 1"});
    }
    return faults;
}

}  // namespace muattn::test
