// Milliseconds of attention over the ranks of MPI, forward and backward, the slowest rank's: best of several calls after a barrier.
//   MUATTN_NUM_THREADS=1 mpiexec -n 2 build/release/bench/muattn_bench_openmpi [TOKENS [CALLS]]
#include <mpi.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "muattn/mpi.hpp"

namespace {

using muattn::mpi::Balance;

constexpr int64_t kHeads = 8, kD = 64;
int calls = 10;

// [1, heads, n, d]
struct Tokens {
    std::vector<float> numbers;
    muattn_tensor view;

    explicit Tokens(int64_t n, unsigned seed = 0)
        : numbers(size_t(kHeads * n * kD)), view(muattn::tensor(numbers.data(), {1, kHeads, n, kD})) {
        std::mt19937 random(seed);
        std::normal_distribution<float> normal;
        std::generate(numbers.begin(), numbers.end(), [&] { return seed != 0 ? normal(random) : 0.0f; });
    }
};

double milliseconds(const std::function<void()> &call) {
    double best = 1e30;
    for (int i = 0; i <= calls; i++) {
        MPI_Barrier(MPI_COMM_WORLD);
        double time = -MPI_Wtime();
        call();
        time += MPI_Wtime();
        MPI_Allreduce(MPI_IN_PLACE, &time, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
        best = i > 0 ? std::min(best, time) : best;
    }
    return 1e3 * best;
}

void run(int64_t n) {
    muattn::mpi::Group group(MPI_COMM_WORLD);
    const int64_t m = muattn::mpi::tokens(group, n, Balance::zigzag);
    const Tokens q(m, 1), k(m, 2), v(m, 3), d_out(m, 4), out(m), d_q(m), d_k(m), d_v(m);
    std::vector<float> numbers(size_t(kHeads * m));
    const muattn_tensor lse = muattn::tensor(numbers.data(), {1, kHeads, m, 1});
    muattn::SpatialOptions causal{};
    causal.causal = MUATTN_CAUSAL_TOP_LEFT;
    muattn::SpatialGradients spatial{};
    spatial.d_q = &d_q.view, spatial.d_k = &d_k.view, spatial.d_v = &d_v.view;
    muattn::ChannelGradients channel{&d_q.view, &d_k.view, &d_v.view, nullptr, nullptr};
    muattn::mpi::ChannelSums sums;
    muattn::mpi::UlyssesHeads heads;

    const auto report = [&](const char *name, const std::function<void()> &forward,
                            const std::function<void()> &backward) {
        const double forward_time = milliseconds(forward), backward_time = milliseconds(backward);
        if (group.rank() == 0) {
            printf("%d ranks, n %lld, %-26s %8.2f ms forward %8.2f ms backward\n", group.size(),
                   static_cast<long long>(n), name, forward_time, backward_time);
            fflush(stdout);
        }
    };
    const auto report_ring = [&](const char *name, const muattn::SpatialOptions &options, Balance balance) {
        report(
            name, [&] { muattn::mpi::ring_attention(group, q.view, k.view, v.view, out.view, lse, options, balance); },
            [&] {
                muattn::mpi::ring_attention_backward(group, q.view, k.view, v.view, out.view, lse, d_out.view, spatial,
                                                     options, balance);
            });
    };
    report_ring("ring", {}, Balance::none);
    report_ring("ring, causal, in order", causal, Balance::none);
    report_ring("ring, causal, zigzag", causal, Balance::zigzag);
    if (kHeads % group.size() == 0) {
        report(
            "Ulysses, causal",
            [&] {
                muattn::mpi::ulysses_attention(group, q.view, k.view, v.view, out.view, causal, Balance::zigzag,
                                               &heads);
            },
            [&] { muattn::mpi::ulysses_attention_backward(group, heads, d_out.view, spatial, causal); });
    }
    report(
        "channel", [&] { muattn::mpi::channel_attention(group, q.view, k.view, v.view, out.view, {}, &sums); },
        [&] { muattn::mpi::channel_attention_backward(group, q.view, k.view, v.view, d_out.view, sums, channel); });
}

}  // namespace

int main(int argc, char **argv) {
    int level = 0;
    MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &level);
    calls = argc > 2 ? std::max(atoi(argv[2]), 1) : calls;
    run(argc > 1 ? std::max(atoll(argv[1]), 1LL) : 4096);
    MPI_Finalize();
}
