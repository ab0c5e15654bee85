// Tensors that own their memory, in any layout, with markers around and between their elements: a kernel that reads a
// marker gets a NaN, one that writes over a marker is found out.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "muattn/muattn.h"

namespace muattn::test {

using Shape = std::array<int64_t, 4>;

// What memory holds before anything is written to it: a NaN with bits of its own.
float untouched();
bool is_untouched(float x);

// A block of floats, all untouched() at first: on the heap, or right before or right after a page that may not be accessed.
class Memory {
public:
    enum class Place { heap, before_forbidden_page, after_forbidden_page };

    explicit Memory(size_t size, Place place = Place::heap);
    ~Memory();
    Memory(const Memory &) = delete;
    Memory &operator=(const Memory &) = delete;

    float *begin() const { return begin_; }
    float *end() const { return begin_ + size_; }
    size_t size() const { return size_; }
    Place place() const { return place_; }

private:
    float *begin_;
    size_t size_;
    Place place_;
    std::vector<float> heap_;
#ifndef __wasi__
    void *pages_ = nullptr;
    size_t page_bytes_ = 0;
#endif
};

// How a tensor lies in memory. Arrays without 'order' in their name are by dimension.
struct Layout {
    const char *name;
    std::array<int, 4> order{0, 1, 2, 3};  // the dimensions, outermost first; 3 must be last
    std::array<int64_t, 4> padding{};      // slots left free after the last index
    std::array<bool, 4> reversed{};        // a negative stride
    std::array<bool, 4> repeated{};        // stride 0: for inputs only
    bool implicit = false;                 // give all-zero strides to muattn
};

Layout dense();         // strides not given
Layout token_major();   // [B, n, H, d]
Layout batch_inside();  // [n, H, B, d]
Layout padded();        // gaps along every dimension
Layout reversed();      // negative strides
Layout repeated();      // inputs repeat over batch entries and heads

// The same without stride 0: an output may not repeat elements.
Layout for_output(Layout layout);

class Tensor {
public:
    Tensor() = default;
    Tensor(std::shared_ptr<Memory> memory, float *data, const Shape &shape, const Shape &strides)
        : memory_(std::move(memory)), data_(data), shape_(shape), strides_(strides) {}
    Tensor(const Shape &shape, const Layout &layout);
    // Dense, or, of one head, with rows so many floats apart; as close to a forbidden page as it gets.
    Tensor(const Shape &shape, Memory::Place place, int64_t apart = 0);

    muattn_tensor view() const;
    float &at(int64_t b, int64_t h, int64_t i, int64_t e) const { return row(b, h, i)[e * strides_[3]]; }
    float *row(int64_t b, int64_t h, int64_t i) const {
        return data_ + b * strides_[0] + h * strides_[1] + i * strides_[2];
    }
    // The same elements with the last two dimensions exchanged.
    Tensor swapped() const;
    int64_t size(int dim) const { return shape_[dim]; }
    const Shape &shape() const { return shape_; }
    const Memory &memory() const { return *memory_; }

    // Normally distributed; the same numbers for the same seed, whatever the layout.
    void fill_normal(unsigned seed, double amplitude = 1, double mean = 0) const;
    void fill(float value) const;
    // All elements, row-major.
    std::vector<float> elements() const;

    // float16 or bfloat16. Rounds the elements in place, to nearest even, and gives a tensor whose view() is of the same numbers in 16 bits, in
    // the same layout. What is untouched() is so there, too.
    Tensor narrowed(muattn_dtype dtype) const;
    // Of a tensor that narrowed() gave: its numbers in 16 bits, row-major, and how many others have changed.
    std::vector<uint16_t> bits() const;
    Tensor widened() const;  // dense
    int64_t bits_changed_outside() const;

private:
    uint16_t *bits_of(const float *element) const;

    std::shared_ptr<Memory> memory_;
    float *data_ = nullptr;
    Shape shape_{}, strides_{};
    bool implicit_ = false;
    std::shared_ptr<Memory> bit_memory_;
    uint16_t *bits_ = nullptr;  // for each number in memory, at the same end of it
    muattn_dtype dtype_ = MUATTN_FLOAT32;
};

// 'count' tensors interleaved in one array [B, n, count, H, d], as a fused projection gives Q, K and V.
std::vector<Tensor> packed_tensors(int count, int64_t B, int64_t H, int64_t n, int64_t d);
// The same where each has heads of its own number, one after the other: [B, n, all heads, d].
std::vector<Tensor> packed_tensors(const std::vector<int64_t> &heads, int64_t B, int64_t n, int64_t d);

// A copy of the memory around a tensor, to see afterwards what was written.
class WriteWatch {
public:
    explicit WriteWatch(const Tensor &tensor);
    int64_t changes_outside() const;  // floats that are no element of the tensor and have changed
    int64_t changes() const;          // floats that have changed, elements included
    const Memory &memory() const { return tensor_.memory(); }

private:
    int64_t count_changes(const std::vector<bool> &ignored) const;

    Tensor tensor_;
    std::vector<float> before_;
};

}  // namespace muattn::test
