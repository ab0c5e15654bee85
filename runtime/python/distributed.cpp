// What muattn.torch.distributed asks of muattn/distributed/: which tokens ranks hold, and the kernel calls that these take.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "muattn/distributed/parts.hpp"
#include "operators.h"
#include "options.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace muattn::python {
namespace {

using distributed::Balance;
using Pair = std::pair<int64_t, int64_t>;
using Pairs = std::vector<Pair>;  // (start, count) of stretches

Balance balance_of(bool zigzag) { return zigzag ? Balance::zigzag : Balance::none; }

distributed::Stretches stretches_of(const Pairs &pairs) {
    distributed::Stretches stretches;
    for (const auto &[start, count] : pairs) {
        stretches.push_back({start, count});
    }
    return stretches;
}

std::vector<distributed::Stretches> stretches_of(const std::vector<Pairs> &ranks) {
    std::vector<distributed::Stretches> all;
    for (const Pairs &pairs : ranks) {
        all.push_back(stretches_of(pairs));
    }
    return all;
}

std::vector<Pairs> token_stretches(const std::vector<int64_t> &counts, bool zigzag) {
    std::vector<Pairs> all;
    for (const distributed::Stretches &stretches : distributed::stretches_of(counts, balance_of(zigzag))) {
        all.emplace_back();
        for (const distributed::Stretch &stretch : stretches) {
            all.back().emplace_back(stretch.start, stretch.count);
        }
    }
    return all;
}

// queries, keys, offsets, the window's left side, lengths
using Part = std::tuple<Pair, Pair, std::optional<Integers>, std::optional<int64_t>, std::optional<Integers>>;

// What queries see of a whole sequence.
struct Sight {
    distributed::Sight sight;

    Sight(int64_t batch, int64_t heads, int64_t n_q, int64_t n_k, const SpatialSettings &settings) {
        const SpatialOptions call(settings, batch, heads);
        if (!distributed::has_near_offsets(call.options, batch)) {
            raise(PyExc_ValueError, distributed::kOffsetRule);
        }
        sight = distributed::sight_of(batch, n_q, n_k, call.options);
    }
    std::vector<Part> parts(const Pairs &queries, const Pairs &keys) const {
        std::vector<Part> all;
        for (const distributed::Part &part : distributed::parts_of(stretches_of(queries), stretches_of(keys), sight)) {
            all.emplace_back(Pair(part.queries.start, part.queries.stop), Pair(part.keys.start, part.keys.stop),
                             part.offsets, part.window_left, part.lengths);
        }
        return all;
    }
    std::vector<int64_t> last_hops(const std::vector<Pairs> &queries, const std::vector<Pairs> &keys) const {
        return distributed::last_hops(stretches_of(queries), stretches_of(keys), sight);
    }
};

}  // namespace

void add_distributed(nb::module_ m) {
    m.def(
        "token_counts",
        [](int64_t n, int64_t ranks, bool zigzag) { return distributed::counts_of(n, ranks, balance_of(zigzag)); },
        "n"_a, "ranks"_a, "zigzag"_a);
    m.def("token_stretches", &token_stretches, "counts"_a, "zigzag"_a);
    nb::class_<Sight>(m, "Sight")
        .def(nb::init<int64_t, int64_t, int64_t, int64_t, const SpatialSettings &>(), "batch"_a, "heads"_a, "n_q"_a,
             "n_k"_a, "settings"_a)
        .def("parts", &Sight::parts, "queries"_a, "keys"_a)
        .def("last_hops", &Sight::last_hops, "queries"_a, "keys"_a);
}

}  // namespace muattn::python
