// Causal attention over a sequence that no rank has whole, forward and backward, against one call over all of it.
//   mpicxx -std=c++17 -O2 ring_mpi.cpp $(pkg-config --cflags --libs muattn) -o ring_mpi
//   MUATTN_NUM_THREADS=1 mpiexec -n 2 ./ring_mpi
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <stdexcept>
#include <vector>

#include <muattn/mpi.hpp>

namespace {

constexpr int64_t kHeads = 8, kTokens = 2048, kD = 64;
using Stretches = std::vector<muattn::mpi::Stretch>;

// [1, heads, tokens, d], with each token's numbers made of its place in the sequence.
struct Tokens {
    int64_t count = 0;
    std::vector<float> numbers;

    explicit Tokens(const Stretches &stretches, double phase = 0) {
        for (const muattn::mpi::Stretch &stretch : stretches) {
            count += stretch.count;
        }
        numbers.resize(size_t(kHeads * count * kD));
        for (int64_t h = 0, i = 0; phase != 0 && h < kHeads; h++) {
            for (const muattn::mpi::Stretch &stretch : stretches) {
                for (int64_t token = stretch.start; token < stretch.start + stretch.count; token++) {
                    for (int64_t e = 0; e < kD; e++) {
                        numbers[size_t(i++)] = float(std::sin(phase * double((token * kHeads + h) * kD + e)));
                    }
                }
            }
        }
    }
    muattn_tensor tensor() const { return muattn::tensor(numbers.data(), {1, kHeads, count, kD}); }
};

// A forward and a backward pass with attend() and attend_backward(), which differ in nothing but whose tokens they take.
struct Pass {
    Tokens q, k, v, d_out, out, d_q, d_k, d_v;
    std::vector<float> lse;
    double milliseconds = 0;

    template<typename Forward, typename Backward>
    Pass(const Stretches &own, const Forward &attend, const Backward &attend_backward)
        : q(own, 0.7),
          k(own, 1.3),
          v(own, 0.3),
          d_out(own, 0.9),
          out(own),
          d_q(own),
          d_k(own),
          d_v(own),
          lse(size_t(kHeads * q.count)) {
        const muattn_tensor of_q = d_q.tensor(), of_k = d_k.tensor(), of_v = d_v.tensor();
        const muattn_tensor of_lse = muattn::tensor(lse.data(), {1, kHeads, q.count, 1});
        muattn::SpatialGradients gradients{};
        gradients.d_q = &of_q, gradients.d_k = &of_k, gradients.d_v = &of_v;
        const auto begin = std::chrono::steady_clock::now();
        attend(q.tensor(), k.tensor(), v.tensor(), out.tensor(), of_lse);
        attend_backward(q.tensor(), k.tensor(), v.tensor(), out.tensor(), of_lse, d_out.tensor(), gradients);
        milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
    }
};

// The greatest difference between this rank's tokens and those of the whole.
double difference(const Tokens &own, const Tokens &whole, const Stretches &stretches) {
    double most = 0;
    for (int64_t h = 0, i = 0; h < kHeads; h++) {
        for (const muattn::mpi::Stretch &stretch : stretches) {
            for (int64_t j = 0; j < stretch.count * kD; j++, i++) {
                const float of_whole = whole.numbers[size_t((h * kTokens + stretch.start) * kD + j)];
                most = std::max(most, std::fabs(double(own.numbers[size_t(i)]) - of_whole));
            }
        }
    }
    return most;
}

void run() {
    using muattn::mpi::Balance;
    muattn::mpi::Group group(MPI_COMM_WORLD);
    const Stretches own = muattn::mpi::stretches(group, kTokens, Balance::zigzag);
    muattn::SpatialOptions options{};
    options.causal = MUATTN_CAUSAL_TOP_LEFT;

    const Pass part(
        own, [&](auto &&...tensors) { muattn::mpi::ring_attention(group, tensors..., options, Balance::zigzag); },
        [&](auto &&...tensors) { muattn::mpi::ring_attention_backward(group, tensors..., options, Balance::zigzag); });
    const Pass whole(
        {{0, kTokens}}, [&](auto &&...tensors) { muattn::spatial_attention(tensors..., options); },
        [&](auto &&...tensors) { muattn::spatial_attention_backward(tensors..., options); });

    double found[] = {difference(part.out, whole.out, own), difference(part.d_q, whole.d_q, own),
                      difference(part.d_k, whole.d_k, own), difference(part.d_v, whole.d_v, own), part.milliseconds};
    MPI_Allreduce(MPI_IN_PLACE, found, 5, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (group.rank() == 0) {
        printf("%d ranks, %lld tokens: greatest difference of out %.1e, d_q %.1e, d_k %.1e, d_v %.1e; %.0f ms\n",
               group.size(), static_cast<long long>(kTokens), found[0], found[1], found[2], found[3], found[4]);
    }
    if (*std::max_element(found, found + 4) > 1e-4) {
        throw std::runtime_error("the ranks' results are not those of one call");
    }
}

}  // namespace

int main(int argc, char **argv) {
    int level = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    try {
        run();  // the group ends before MPI does
    } catch (const std::exception &error) {
        fprintf(stderr, "%s\n", error.what());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
}
