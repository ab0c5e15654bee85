#include "machine_limits.h"

#include <benchmark/benchmark.h>
#include <immintrin.h>
#include <muattn/muattn.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

constexpr int kRounds = 25;

// make_work(thread) runs on its thread, the function that it returns is one round of work. The seconds of the best round:
// from the common start to the end of the last thread.
template<typename MakeWork>
double best_round(int threads, const MakeWork &make_work) {
    double best = std::numeric_limits<double>::infinity();
    Clock::time_point start;
    bool started = false;
    std::barrier together(threads, [&]() noexcept {
        const Clock::time_point now = Clock::now();
        if (started) {
            best = std::min(best, seconds(now - start));
        }
        started = true;
        start = now;
    });
    auto run = [&](int thread) {
        auto work = make_work(thread);
        together.arrive_and_wait();
        for (int round = 0; round < kRounds; round++) {
            work();
            together.arrive_and_wait();
        }
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; thread++) {
        others.emplace_back(run, thread);
    }
    run(0);
    for (std::thread &other : others) {
        other.join();
    }
    return best;
}

constexpr int kChains = 12;  // independent sums: more than latency times issue width, and no more than registers
constexpr int kSteps = 2'000'000;

// A macro, because a template argument cannot choose the instructions that a function is compiled for.
#define FMA_LOOP(name, isa, Vector, set, multiply_add)                               \
    __attribute__((target(isa))) void name(float first) {                            \
        Vector sums[kChains];                                                        \
        for (int chain = 0; chain < kChains; chain++) {                              \
            sums[chain] = set(first + float(chain));                                 \
        }                                                                            \
        const Vector half = set(0.5f);                                               \
        for (int step = 0; step < kSteps; step++) {                                  \
            _Pragma("GCC unroll 12") for (int chain = 0; chain < kChains; chain++) { \
                sums[chain] = multiply_add(sums[chain]);                             \
            }                                                                        \
        }                                                                            \
        benchmark::DoNotOptimize(sums);                                              \
    }

#define MULTIPLY_ADD_512(x) _mm512_fmadd_ps(x, half, half)
#define MULTIPLY_ADD_256(x) _mm256_fmadd_ps(x, half, half)
#define MULTIPLY_ADD_128(x) _mm_add_ps(_mm_mul_ps(x, half), half)

FMA_LOOP(fma_avx512, "avx512f", __m512, _mm512_set1_ps, MULTIPLY_ADD_512)
FMA_LOOP(fma_avx2, "avx2,fma", __m256, _mm256_set1_ps, MULTIPLY_ADD_256)
FMA_LOOP(fma_sse41, "sse4.1", __m128, _mm_set1_ps, MULTIPLY_ADD_128)

struct FmaLoop {
    void (*run)(float);
    int lanes;
};

FmaLoop fma_loop(const std::string &backend) {
    static const std::map<std::string, FmaLoop> loops = {
        {"cpu:avx512", {fma_avx512, 16}}, {"cpu:avx2", {fma_avx2, 8}}, {"cpu:sse41", {fma_sse41, 4}}};
    const auto found = loops.find(backend);
    if (found == loops.end()) {
        throw std::runtime_error("no multiply-add loop for backend " + backend +
                                 "; add one to bench/machine_limits.cpp");
    }
    return found->second;
}

double peak_gflops(int threads) {
    const FmaLoop loop = fma_loop(muattn_current_backend());
    const double best = best_round(threads, [&](int thread) { return [&loop, thread] { loop.run(float(thread)); }; });
    return 2e-9 * loop.lanes * kChains * kSteps * threads / best;
}

// Past the cache: a store that reads its cache line first would move half as much again as it copies.
void copy_streaming(__m128i *to, const __m128i *from, int64_t count) {
    for (int64_t i = 0; i < count; i++) {
        _mm_stream_si128(to + i, _mm_load_si128(from + i));
    }
    _mm_sfence();
}

struct alignas(64) CacheLine {
    __m128i words[4];
};

double copy_gbytes(int threads) {
    const int64_t bytes = std::max<int64_t>(2 * last_level_cache_bytes(threads), int64_t(64) << 20);
    const int64_t lines = bytes / int64_t(sizeof(CacheLine)) / threads;
    const double best = best_round(threads, [&](int) {
        std::vector<CacheLine> from(static_cast<size_t>(lines)), to(from);
        return [from = std::move(from), to = std::move(to), lines]() mutable {
            copy_streaming(to.front().words, from.front().words, lines * 4);
        };
    });
    return 2e-9 * double(lines * int64_t(sizeof(CacheLine)) * threads) / best;
}

}  // namespace

int64_t last_level_cache_bytes(int threads) {
    int64_t bytes = 0;
    int level = 0;
    for (const auto &cache : benchmark::CPUInfo::Get().caches) {
        if (cache.level >= level) {
            const int sharing = std::max(1, cache.num_sharing);
            bytes = int64_t(cache.size) * ((threads + sharing - 1) / sharing);
            level = cache.level;
        }
    }
    return bytes;
}

const MachineLimits &machine_limits(int threads) {
    struct Measured {
        MachineLimits limits;
        Clock::time_point when;
    };
    static std::map<int, Measured> known;
    const auto found = known.find(threads);
    if (found == known.end() || seconds(Clock::now() - found->second.when) > 20) {
        known[threads] = {{peak_gflops(threads), copy_gbytes(threads)}, Clock::now()};
    }
    return known[threads].limits;
}
