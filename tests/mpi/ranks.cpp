#include "mpi/ranks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

namespace muattn::test {
namespace {

// f(element of the part, index in the whole)
template<typename Function>
void for_elements(const Tensor &part, const distributed::Stretches &own, bool channels_first, const Function &f) {
    const Tensor rows = channels_first ? part.swapped() : part;
    for (int64_t b = 0; b < rows.size(0); b++) {
        for (int64_t h = 0; h < rows.size(1); h++) {
            int64_t row = 0;
            for (const distributed::Stretch &stretch : own) {
                for (int64_t i = 0; i < stretch.count; i++, row++) {
                    for (int64_t e = 0; e < rows.size(3); e++) {
                        f(rows.at(b, h, row, e), Shape{b, h, stretch.start + i, e});
                    }
                }
            }
        }
    }
}

// In the order of Tensor::elements().
void set_elements(const Tensor &tensor, const std::vector<float> &numbers) {
    auto next = numbers.begin();
    for_elements(tensor, {{0, tensor.size(2)}}, false, [&](float &element, const Shape &) { element = *next++; });
}

Tensor from_elements(const Shape &shape, const std::vector<float> &numbers) {
    Tensor tensor(shape, dense());
    set_elements(tensor, numbers);
    return tensor;
}

float &at(const Tensor &whole, const Shape &i, bool channels_first) {
    return channels_first ? whole.at(i[0], i[1], i[3], i[2]) : whole.at(i[0], i[1], i[2], i[3]);
}

}  // namespace

mpi::Group &all_ranks() {
    static auto *const group = new mpi::Group(MPI_COMM_WORLD, std::chrono::seconds(120));  // until the process ends
    return *group;
}

std::string name_of(Cut cut) { return cut == Cut::even ? "Even" : cut == Cut::uneven ? "Uneven" : "Zigzag"; }

mpi::Balance balance_of(Cut cut) { return cut == Cut::zigzag ? mpi::Balance::zigzag : mpi::Balance::none; }

std::vector<distributed::Stretches> cut_tokens(int64_t n, Cut cut, int which) {
    const int ranks = all_ranks().size();
    if (cut != Cut::uneven) {
        return distributed::stretches_of(distributed::counts_of(n, ranks, balance_of(cut)), balance_of(cut));
    }
    static constexpr int64_t kWeights[2][4] = {{5, 0, 2, 1}, {1, 3, 0, 2}};
    const int64_t *weights = kWeights[which];
    int64_t sum = 0, given = 0;
    for (int rank = 0; rank < ranks; rank++) {
        sum += weights[rank];
    }
    std::vector<int64_t> counts;
    for (int rank = 0; rank < ranks; rank++) {
        counts.push_back(rank == ranks - 1 ? n - given : n * weights[rank] / sum);
        given += counts.back();
    }
    return distributed::stretches_of(counts, mpi::Balance::none);
}

Tensor new_part(const Tensor &whole, const distributed::Stretches &own, const Layout &layout, bool channels_first) {
    Shape shape = whole.shape();
    shape[channels_first ? 3 : 2] = distributed::count_of(own);
    return Tensor(shape, layout);
}

Tensor part_of(const Tensor &whole, const distributed::Stretches &own, const Layout &layout, bool channels_first) {
    Tensor part = new_part(whole, own, layout, channels_first);
    for_elements(part, own, channels_first,
                 [&](float &element, const Shape &index) { element = at(whole, index, channels_first); });
    return part;
}

void put_together(const Tensor &whole, const Tensor &part, const std::vector<distributed::Stretches> &of_ranks,
                  bool channels_first) {
    for (int rank = 0; rank < int(of_ranks.size()); rank++) {
        const Tensor of_rank =
            rank == all_ranks().rank() ? part : new_part(whole, of_ranks[size_t(rank)], dense(), channels_first);
        std::vector<float> numbers = of_rank.elements();
        MPI_Bcast(numbers.data(), int(numbers.size()), MPI_FLOAT, rank, MPI_COMM_WORLD);
        const Tensor copy = from_elements(of_rank.shape(), numbers);
        for_elements(copy, of_ranks[size_t(rank)], channels_first,
                     [&](float &element, const Shape &index) { at(whole, index, channels_first) = element; });
    }
}

void add_up(float *numbers, int64_t count) {
    std::vector<double> sums(numbers, numbers + count);
    MPI_Allreduce(MPI_IN_PLACE, sums.data(), int(count), MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    std::copy(sums.begin(), sums.end(), numbers);
}

void add_up(const Tensor &tensor) {
    std::vector<float> numbers = tensor.elements();
    add_up(numbers.data(), int64_t(numbers.size()));
    set_elements(tensor, numbers);
}

void expect_the_same_bits_twice(const std::function<std::vector<float>()> &f) {
    const std::vector<float> first = f(), second = f();
    ASSERT_EQ(first.size(), second.size());
    EXPECT_TRUE(first.empty() || memcmp(first.data(), second.data(), first.size() * sizeof(float)) == 0);
}

std::vector<float> joined(const std::vector<std::vector<float>> &all) {
    std::vector<float> found;
    for (const std::vector<float> &numbers : all) {
        found.insert(found.end(), numbers.begin(), numbers.end());
    }
    return found;
}

}  // namespace muattn::test
