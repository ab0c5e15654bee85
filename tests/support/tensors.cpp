#include "support/tensors.h"

#include "support/sixteen_bits.h"

#include <numeric>
#include <utility>

#ifndef __wasi__
#include <sys/mman.h>
#include <unistd.h>
#endif

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

namespace muattn::test {
namespace {

constexpr uint32_t kUntouchedBits = 0x7fc0dead;
// Odd, so that elements are aligned to a float and no more.
constexpr int64_t kGuard = 67;

template<typename F>
void for_each_element(const Tensor &t, F f) {
    for (int64_t b = 0; b < t.size(0); b++) {
        for (int64_t h = 0; h < t.size(1); h++) {
            for (int64_t i = 0; i < t.size(2); i++) {
                for (int64_t e = 0; e < t.size(3); e++) {
                    f(t.at(b, h, i, e));
                }
            }
        }
    }
}

Shape dense_strides(const Shape &shape) { return {shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1}; }

}  // namespace

float untouched() {
    float x;
    memcpy(&x, &kUntouchedBits, sizeof x);
    return x;
}

bool is_untouched(float x) { return memcmp(&x, &kUntouchedBits, sizeof x) == 0; }

Memory::Memory(size_t size, Place place) : size_(size), place_(place) {
    if (place == Place::heap) {
        heap_.resize(size);
        begin_ = heap_.data();
    } else {
#ifdef __wasi__
        abort();  // its memory has no pages; tests that ask for them are left out of its suite
#else
        const size_t page = size_t(sysconf(_SC_PAGESIZE)), bytes = size * sizeof(float);
        const size_t usable = (bytes + page - 1) / page * page;
        page_bytes_ = usable + 2 * page;
        pages_ = mmap(nullptr, page_bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages_ == MAP_FAILED) {
            abort();
        }
        char *first = static_cast<char *>(pages_) + page;
        mprotect(first, usable, PROT_READ | PROT_WRITE);
        begin_ = reinterpret_cast<float *>(place == Place::after_forbidden_page ? first : first + usable - bytes);
#endif
    }
    std::fill(begin(), end(), untouched());
}

Memory::~Memory() {
#ifndef __wasi__
    if (pages_ != nullptr) {
        munmap(pages_, page_bytes_);
    }
#endif
}

Layout dense() {
    Layout layout{"dense"};
    layout.implicit = true;
    return layout;
}

Layout token_major() {
    Layout layout{"token_major"};
    layout.order = {0, 2, 1, 3};
    return layout;
}

Layout batch_inside() {
    Layout layout{"batch_inside"};
    layout.order = {2, 1, 0, 3};
    return layout;
}

Layout padded() {
    Layout layout{"padded"};
    layout.padding = {1, 2, 3, 5};
    return layout;
}

Layout reversed() {
    Layout layout{"reversed"};
    layout.padding = {0, 0, 1, 1};
    layout.reversed = {true, true, true, false};
    return layout;
}

Layout repeated() {
    Layout layout{"repeated"};
    layout.repeated = {true, true, false, false};
    return layout;
}

Layout for_output(Layout layout) {
    layout.repeated = {};
    return layout;
}

Tensor::Tensor(const Shape &shape, const Layout &layout) : shape_(shape), implicit_(layout.implicit) {
    int64_t stride = 1, first = 0;
    for (int i = 3; i >= 0; i--) {
        const int dim = layout.order[i];
        if (layout.repeated[dim]) {
            strides_[dim] = 0;
            continue;
        }
        strides_[dim] = layout.reversed[dim] ? -stride : stride;
        first += layout.reversed[dim] ? (shape[dim] - 1) * stride : 0;
        stride *= shape[dim] + layout.padding[dim];
    }
    memory_ = std::make_shared<Memory>(size_t(stride + 2 * kGuard));
    data_ = memory_->begin() + kGuard + first;
}

Tensor::Tensor(const Shape &shape, Memory::Place place, int64_t apart) : shape_(shape), strides_(dense_strides(shape)) {
    int64_t floats = shape[0] * shape[1] * shape[2] * shape[3];
    if (apart != 0) {
        strides_[2] = apart;
        floats = (shape[2] - 1) * apart + shape[3];
    }
    memory_ = std::make_shared<Memory>(size_t(floats), place);
    data_ = memory_->begin();
}

muattn_tensor Tensor::view() const {
    muattn_tensor t{};
    t.data = bits_ != nullptr ? static_cast<void *>(bits_of(data_)) : data_;
    t.dtype = dtype_;
    for (int i = 0; i < 4; i++) {
        t.shape[i] = shape_[i];
        t.strides[i] = implicit_ ? 0 : strides_[i];
    }
    return t;
}

Tensor Tensor::swapped() const {
    Tensor t = *this;
    std::swap(t.shape_[2], t.shape_[3]);
    std::swap(t.strides_[2], t.strides_[3]);
    return t;
}

void Tensor::fill_normal(unsigned seed, double amplitude, double mean) const {
    std::mt19937 engine(seed);
    std::normal_distribution<double> normal(mean, 1);
    for_each_element(*this, [&](float &x) { x = float(amplitude * normal(engine)); });
}

void Tensor::fill(float value) const {
    for_each_element(*this, [&](float &x) { x = value; });
}

std::vector<float> Tensor::elements() const {
    std::vector<float> all;
    for_each_element(*this, [&](float x) { all.push_back(x); });
    return all;
}

uint16_t *Tensor::bits_of(const float *element) const { return bits_ + (element - memory_->begin()); }

Tensor Tensor::narrowed(muattn_dtype dtype) const {
    Tensor narrow = *this;
    narrow.dtype_ = dtype;
    const size_t count = memory_->size();
    narrow.bit_memory_ = std::make_shared<Memory>((count + 1) / 2, memory_->place());
    narrow.bits_ = memory_->place() == Memory::Place::before_forbidden_page
                       ? reinterpret_cast<uint16_t *>(narrow.bit_memory_->end()) - count
                       : reinterpret_cast<uint16_t *>(narrow.bit_memory_->begin());
    std::fill_n(narrow.bits_, count, untouched_bits(dtype));
    for_each_element(*this, [&](float &x) {
        if (!is_untouched(x)) {
            const uint16_t bits = rounded_bits(dtype, x);
            *narrow.bits_of(&x) = bits;
            x = test::widened(dtype, bits);
        }
    });
    return narrow;
}

std::vector<uint16_t> Tensor::bits() const {
    std::vector<uint16_t> all;
    for_each_element(*this, [&](const float &x) { all.push_back(*bits_of(&x)); });
    return all;
}

Tensor Tensor::widened() const {
    const Tensor wide(shape_, dense());
    const std::vector<uint16_t> all = bits();
    size_t next = 0;
    for_each_element(wide, [&](float &x) { x = test::widened(dtype_, all[next++]); });
    return wide;
}

int64_t Tensor::bits_changed_outside() const {
    std::vector<bool> ignored(memory_->size());
    for_each_element(*this, [&](const float &x) { ignored[size_t(&x - memory_->begin())] = true; });
    int64_t count = 0;
    for (size_t i = 0; i < ignored.size(); i++) {
        count += !ignored[i] && bits_[i] != untouched_bits(dtype_);
    }
    return count;
}

std::vector<Tensor> packed_tensors(const std::vector<int64_t> &heads, int64_t B, int64_t n, int64_t d) {
    const int64_t token = std::accumulate(heads.begin(), heads.end(), int64_t(0)) * d;
    auto memory = std::make_shared<Memory>(size_t(B * n * token + 2 * kGuard));
    std::vector<Tensor> tensors;
    float *data = memory->begin() + kGuard;
    for (const int64_t H : heads) {
        tensors.emplace_back(memory, data, Shape{B, H, n, d}, Shape{n * token, d, token, 1});
        data += H * d;
    }
    return tensors;
}

std::vector<Tensor> packed_tensors(int count, int64_t B, int64_t H, int64_t n, int64_t d) {
    return packed_tensors(std::vector<int64_t>(size_t(count), H), B, n, d);
}

WriteWatch::WriteWatch(const Tensor &tensor)
    : tensor_(tensor), before_(tensor.memory().begin(), tensor.memory().end()) {}

int64_t WriteWatch::changes_outside() const {
    std::vector<bool> ignored(before_.size());
    for_each_element(tensor_, [&](const float &x) { ignored[size_t(&x - tensor_.memory().begin())] = true; });
    return count_changes(ignored);
}

int64_t WriteWatch::changes() const { return count_changes(std::vector<bool>(before_.size())); }

int64_t WriteWatch::count_changes(const std::vector<bool> &ignored) const {
    int64_t count = 0;
    for (size_t i = 0; i < before_.size(); i++) {
        count += !ignored[i] && memcmp(&before_[i], tensor_.memory().begin() + i, sizeof(float)) != 0;
    }
    return count;
}

}  // namespace muattn::test
