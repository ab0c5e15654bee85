// muattn_convert: float32 to and from 16 bits, bit for bit what plain arithmetic gives, and copies of float32.
#include <cmath>
#include <cstring>
#include <iterator>
#include <limits>

#include "support/backends.h"
#include "support/faults.h"
#include "support/sixteen_bits.h"
#include "support/tensors.h"

namespace muattn::test {
namespace {

constexpr muattn_dtype kDtypes[] = {MUATTN_FLOAT16, MUATTN_BFLOAT16};

class Convert : public OnEveryProcessor {};
MUATTN_ON_EVERY_BACKEND(Convert);

muattn_status convert(const muattn_tensor &from, const muattn_tensor &to) { return muattn_convert(&from, &to); }

muattn_tensor row_of(const void *data, muattn_dtype dtype, int64_t count) {
    return {const_cast<void *>(data), dtype, MUATTN_CPU, {1, 1, 1, count}, {}, 0};
}

bool is_same(float a, float b) { return memcmp(&a, &b, sizeof a) == 0 || (std::isnan(a) && std::isnan(b)); }

// Every 1021st pattern of a float, and those around what is halfway between two numbers of 16 bits.
std::vector<float> many_floats() {
    constexpr uint64_t kStep = 1021;
    std::vector<uint32_t> patterns;
    for (uint64_t bits = 0; bits < (uint64_t(1) << 32); bits += kStep) {
        patterns.push_back(uint32_t(bits));
    }
    for (uint32_t bits = 0; bits < (1u << 16); bits++) {
        for (const uint32_t halfway : {0x8000u, 0x1000u, 0x3000u, 0xf000u}) {
            for (const uint32_t around : {halfway - 1, halfway, halfway + 1}) {
                patterns.push_back(bits << 16 | around);
            }
        }
    }
    std::vector<float> floats(patterns.size());
    memcpy(floats.data(), patterns.data(), patterns.size() * sizeof(float));
    return floats;
}

TEST_P(Convert, EveryPatternIsWidened) {
    std::vector<uint16_t> bits(1 << 16);
    for (size_t i = 0; i < bits.size(); i++) {
        bits[i] = uint16_t(i);
    }
    for (const muattn_dtype dtype : kDtypes) {
        std::vector<float> floats(bits.size());
        const auto count = int64_t(bits.size());
        ASSERT_EQ(convert(row_of(bits.data(), dtype, count), row_of(floats.data(), MUATTN_FLOAT32, count)), MUATTN_OK);
        for (size_t i = 0; i < bits.size(); i++) {
            ASSERT_TRUE(is_same(floats[i], widened(dtype, bits[i]))) << i << ": " << floats[i];
        }
    }
}

TEST_P(Convert, FloatsAreRoundedToNearestEven) {
    static const std::vector<float> floats = many_floats();
    const auto count = int64_t(floats.size());
    std::vector<uint16_t> bits(floats.size());
    for (const muattn_dtype dtype : kDtypes) {
        ASSERT_EQ(convert(row_of(floats.data(), MUATTN_FLOAT32, count), row_of(bits.data(), dtype, count)), MUATTN_OK);
        for (size_t i = 0; i < floats.size(); i++) {
            if (std::isnan(floats[i])) {
                ASSERT_TRUE(is_nan_bits(dtype, bits[i])) << i;
            } else {
                ASSERT_EQ(bits[i], rounded_bits(dtype, floats[i])) << i << ": " << floats[i];
            }
        }
    }
}

void expect_rounded(const Tensor &from, const Tensor &to, muattn_dtype dtype) {
    const Tensor narrow = to.narrowed(dtype);
    ASSERT_EQ(convert(from.view(), narrow.view()), MUATTN_OK) << muattn_last_error();
    const std::vector<float> floats = from.elements();
    const std::vector<uint16_t> bits = narrow.bits();
    for (size_t i = 0; i < bits.size(); i++) {
        ASSERT_EQ(bits[i], rounded_bits(dtype, floats[i])) << i;
    }
    EXPECT_EQ(narrow.bits_changed_outside(), 0);
}

// from: float32, or of 16 bits, whose numbers its floats are.
void expect_widened(const Tensor &from, const Tensor &to) {
    const WriteWatch watch(to);
    ASSERT_EQ(convert(from.view(), to.view()), MUATTN_OK) << muattn_last_error();
    EXPECT_EQ(to.elements(), from.elements());
    EXPECT_EQ(watch.changes_outside(), 0);
}

// Rows, heads and parts of rows, as many as one task takes and more; 70000 rows of one number.
const Shape kShapes[] = {{2, 3, 5, 7},     {1, 1, 1, 1},   {3, 2, 4, 1},  {1, 3, 1, 33},    {2, 1, 2, 33000},
                         {1, 1, 1, 65537}, {40, 30, 2, 3}, {1, 1, 5, 64}, {1, 1, 70000, 1}, {2, 2, 700, 100}};

TEST_P(Convert, AnyLayout) {
    const Layout layouts[] = {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()};
    for (const int threads : {1, 3}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        for (const Shape &shape : kShapes) {
            const bool is_large = shape[0] * shape[1] * shape[2] * shape[3] > 2000;  // not in every pair of layouts
            for (size_t i = 0; i < std::size(layouts); i++) {
                for (size_t j = 0; j < std::size(layouts); j++) {
                    if (is_large && j != (i + 1) % std::size(layouts)) {
                        continue;
                    }
                    const Layout &of_from = layouts[i], &of_to = layouts[j];
                    SCOPED_TRACE(testing::PrintToString(shape) + " " + of_from.name + " to " + of_to.name);
                    const Tensor from(shape, of_from);
                    from.fill_normal(7);
                    const auto to = [&] { return Tensor(shape, for_output(of_to)); };
                    expect_widened(from, to());
                    for (const muattn_dtype dtype : kDtypes) {
                        expect_rounded(from, to(), dtype);
                        expect_widened(from.narrowed(dtype), to());
                        from.fill_normal(7);
                    }
                    if (HasFailure()) {
                        return;
                    }
                }
            }
        }
    }
}

#ifndef __wasi__  // which has no mmap
TEST_P(Convert, NothingOutsideIsRead) {
    for (const auto place : {Memory::Place::before_forbidden_page, Memory::Place::after_forbidden_page}) {
        for (const Shape &shape : kShapes) {
            const Tensor from(shape, place);
            from.fill_normal(3);
            expect_widened(from, Tensor(shape, place));
            for (const muattn_dtype dtype : kDtypes) {
                expect_rounded(from, Tensor(shape, place), dtype);
                expect_widened(from.narrowed(dtype), Tensor(shape, place));
            }
        }
    }
}
#endif

// An input without strides of its own in any dimension but the innermost: one row, everywhere.
TEST_P(Convert, RepeatedRows) {
    const float row[] = {1, -2, 1e30f};
    muattn_tensor from = row_of(row, MUATTN_FLOAT32, 3);
    const int64_t shape[] = {2, 1, 5, 3}, strides[] = {0, 0, 0, 1};
    memcpy(from.shape, shape, sizeof shape);
    memcpy(from.strides, strides, sizeof strides);
    uint16_t bits[30];
    muattn_tensor to = row_of(bits, MUATTN_FLOAT16, 3);
    memcpy(to.shape, shape, sizeof shape);
    ASSERT_EQ(convert(from, to), MUATTN_OK);
    for (int i = 0; i < 30; i++) {
        EXPECT_EQ(bits[i], rounded_bits(MUATTN_FLOAT16, row[i % 3]));
    }
}

TEST_P(Convert, TheKernelIsNamed) {
    const float x = 1;
    float copy = 0;
    uint16_t bits = 0;
    const auto expect_last = [](const std::string &name) { EXPECT_EQ(muattn_last_kernel(), name); };
    ASSERT_EQ(convert(row_of(&x, MUATTN_FLOAT32, 1), row_of(&bits, MUATTN_BFLOAT16, 1)), MUATTN_OK);
    expect_last("convert/forward/float32_bfloat16/general/" + GetParam());
    ASSERT_EQ(convert(row_of(&bits, MUATTN_FLOAT16, 1), row_of(&copy, MUATTN_FLOAT32, 1)), MUATTN_OK);
    expect_last("convert/forward/float16_float32/general/" + GetParam());
    ASSERT_EQ(convert(row_of(&x, MUATTN_FLOAT32, 1), row_of(&copy, MUATTN_FLOAT32, 1)), MUATTN_OK);
    expect_last("");
    EXPECT_EQ(copy, 1);
    ASSERT_EQ(convert(row_of(&x, MUATTN_FLOAT32, 1), row_of(&bits, MUATTN_FLOAT16, 1)), MUATTN_OK);
    ASSERT_EQ(convert(row_of(nullptr, MUATTN_FLOAT32, 0), row_of(nullptr, MUATTN_FLOAT16, 0)), MUATTN_OK);
    expect_last("");
}

TEST_P(Convert, NoElements) {
    uint16_t bits = 7;
    for (int dim = 0; dim < 4; dim++) {
        muattn_tensor from = row_of(nullptr, MUATTN_FLOAT32, 5), to = row_of(&bits, MUATTN_FLOAT16, 5);
        from.shape[dim] = to.shape[dim] = 0;
        EXPECT_EQ(convert(from, to), MUATTN_OK) << muattn_last_error();
    }
    EXPECT_EQ(bits, 7);
}

class ConvertOnGpus : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ConvertOnGpus);

TEST_P(ConvertOnGpus, IsRefused) {
    if (!is_gpu(GetParam())) {
        GTEST_SKIP() << "processors convert";
    }
    const float x[] = {1};
    float to[] = {2};
    EXPECT_EQ(convert(row_of(x, MUATTN_FLOAT32, 1), row_of(to, MUATTN_BFLOAT16, 1)), MUATTN_UNSUPPORTED);
    EXPECT_EQ(convert(row_of(x, MUATTN_FLOAT32, 1), row_of(to, MUATTN_FLOAT32, 1)), MUATTN_UNSUPPORTED);
    EXPECT_EQ(to[0], 2);
}

class ConvertErrors : public WithSettings {
protected:
    ConvertErrors() { from.fill_normal(1); }

    template<typename Damage>
    void expect(const Damage &damage, const std::string &says, muattn_dtype from_type = MUATTN_FLOAT32,
                muattn_dtype to_type = MUATTN_FLOAT32) {
        SCOPED_TRACE(says);
        const WriteWatch of_from(from), of_to(to);
        muattn_tensor a = from.view(), b = to.view();
        a.dtype = from_type, b.dtype = to_type;
        damage(a, b);
        EXPECT_EQ(convert(a, b), MUATTN_INVALID_ARGUMENT) << muattn_last_error();
        EXPECT_EQ(std::string(muattn_last_error()).find(says), 0u) << muattn_last_error();
        EXPECT_EQ(of_from.changes() + of_to.changes(), 0);
    }

    const Tensor from{Shape{2, 3, 4, 5}, token_major()}, to{Shape{2, 3, 4, 5}, token_major()};
};

using View = muattn_tensor;

TEST_F(ConvertErrors, OfEachTensor) {
    for (const auto &faults : {tensor_faults(), inner_stride_faults()}) {
        for (const TensorFault &fault : faults) {
            const std::string says = (fault.says[0] == '.' ? "" : " ") + std::string(fault.says);
            expect([&](View &a, View &) { fault.damage(a); }, "from" + says);
            expect([&](View &, View &b) { fault.damage(b); }, "to" + says);
        }
    }
    const muattn_tensor view = from.view();
    EXPECT_EQ(muattn_convert(nullptr, &view), MUATTN_INVALID_ARGUMENT);
    EXPECT_STREQ(muattn_last_error(), "from must not be null");
    EXPECT_EQ(muattn_convert(&view, nullptr), MUATTN_INVALID_ARGUMENT);
    EXPECT_STREQ(muattn_last_error(), "to must not be null");
}

TEST_F(ConvertErrors, TypesThatDoNotGoTogether) {
    const auto nothing = [](View &, View &) {};
    for (const muattn_dtype a : kDtypes) {
        for (const muattn_dtype b : kDtypes) {
            expect(nothing, "to.dtype must be float32 where from is ", a, b);
        }
    }
    for (const muattn_dtype other : {MUATTN_BOOL, MUATTN_INT8}) {
        expect(nothing, "from.dtype: ", other);
        expect(nothing, "to.dtype: ", MUATTN_FLOAT32, other);
    }
}

TEST_F(ConvertErrors, ShapesThatDiffer) {
    for (int dim = 0; dim < 4; dim++) {
        for (const int64_t change : {-1, 1}) {
            expect([&](View &, View &b) { b.shape[dim] += change; },
                   "to.shape[" + std::to_string(dim) + "] must equal from's: ");
        }
    }
    expect([](View &a, View &) { a.shape[2] = 0; }, "to.shape[2] must equal from's: 0, not 4");
}

TEST_F(ConvertErrors, OutputsThatOverlap) {
    expect([](View &a, View &b) { b.data = a.data; }, "to must not overlap from");
    expect([](View &a, View &b) { b.data = a.data; }, "to must not overlap from", MUATTN_FLOAT32, MUATTN_FLOAT16);
    expect([](View &, View &b) { b.strides[0] = 0; }, "to.strides: two indices must not share an element");
}

TEST_F(ConvertErrors, Devices) {
    expect([](View &, View &b) { b.device = MUATTN_CUDA; }, "to.device must be that of from");
    muattn_tensor a = from.view(), b = to.view();
    a.device = b.device = MUATTN_OPENCL;
    const muattn_status status = convert(a, b);
    EXPECT_TRUE(status == MUATTN_UNSUPPORTED || status == MUATTN_INVALID_BACKEND) << muattn_last_error();
}

}  // namespace
}  // namespace muattn::test
