// The ranks of a test, which are processes of mpiexec, and a sequence that is cut for them.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "muattn/mpi.hpp"
#include "support/tensors.h"

namespace muattn::test {

// Of all processes.
mpi::Group &all_ranks();

// How tokens are given to ranks: as stretches() says, or unevenly, queries and keys in different places, some ranks with none.
enum class Cut { even, uneven, zigzag };
std::string name_of(Cut cut);
mpi::Balance balance_of(Cut cut);

// For each rank, the stretches of n tokens; which: another uneven cut for another number.
std::vector<distributed::Stretches> cut_tokens(int64_t n, Cut cut, int which = 0);

// A rank's tokens of a tensor that every rank has whole, [B, H, n, d], with channels first [B, H, d, n]; untouched, or with their numbers.
Tensor new_part(const Tensor &whole, const distributed::Stretches &own, const Layout &layout,
                bool channels_first = false);
Tensor part_of(const Tensor &whole, const distributed::Stretches &own, const Layout &layout,
               bool channels_first = false);

// Puts all ranks' parts into the whole, on every rank.
void put_together(const Tensor &whole, const Tensor &part, const std::vector<distributed::Stretches> &of_ranks,
                  bool channels_first = false);
// Adds up what the ranks have.
void add_up(float *numbers, int64_t count);
void add_up(const Tensor &tensor);

// f(), which returns numbers, gives the same bits twice.
void expect_the_same_bits_twice(const std::function<std::vector<float>()> &f);
std::vector<float> joined(const std::vector<std::vector<float>> &all);

// Of cases by name.
template<typename Case>
std::vector<std::string> names_of(const std::map<std::string, Case> &cases) {
    std::vector<std::string> names;
    for (const auto &entry : cases) {
        names.push_back(entry.first);
    }
    return names;
}

}  // namespace muattn::test
