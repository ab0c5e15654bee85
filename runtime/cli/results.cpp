#include "results.h"

#include <muattn/muattn.hpp>

#include "usage_error.h"

namespace muattn::cli {
namespace {

// The shape is known to be valid only when the library has seen it, its size must fit before.
size_t count(const std::string &option, const std::vector<size_t> &shape) {
    size_t elements = 1;
    for (const size_t size : shape) {
        if (__builtin_mul_overflow(elements, size, &elements) || elements > (size_t(1) << 31)) {
            fail("{}: more than 2^31 elements", option);
        }
    }
    return elements;
}

}  // namespace

Results::Result::Result(const std::string &name, const std::string &path, const std::vector<size_t> &sizes,
                        muattn_dtype dtype)
    : option(name), shape(sizes), file(name, path), data(count(name, sizes)) {
    Shape all = {1, 1, 1, 1};
    std::copy(shape.begin(), shape.end(), all.begin());
    tensor = muattn::tensor(data.data(), all);
    tensor.dtype = dtype;
}

const muattn_tensor *Results::add(const std::string &option, const std::string &path, const std::vector<size_t> &shape,
                                  muattn_dtype dtype) {
    if (path.empty()) {
        return nullptr;
    }
    const Result &added = results_.emplace_back(option, path, shape, dtype);
    for (const Result &other : results_) {
        if (&other != &added && other.file.target() == added.file.target()) {
            fail("{} and {} name the same file", option, other.option);
        }
    }
    return &added.tensor;
}

float *Results::add_numbers(const std::string &option, const std::string &path, size_t count) {
    const muattn_tensor *tensor = add(option, path, {count});
    return tensor != nullptr ? static_cast<float *>(tensor->data) : nullptr;
}

void Results::write() {
    for (Result &result : results_) {
        result.file.write(result.data.data(), result.tensor.dtype, result.shape);
    }
    for (Result &result : results_) {
        result.file.commit();
    }
}

}  // namespace muattn::cli
