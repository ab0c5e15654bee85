// All pairs of features in few cases.
#pragma once

#include <random>
#include <set>
#include <tuple>
#include <vector>

namespace muattn::test {

// Given how many choices each factor has, rows with one choice per factor in which every pair of choices of any two
// factors occurs. Greedy: of 40 random rows that contain a pair still missing, the one with the most missing pairs.
inline std::vector<std::vector<int>> pairwise(const std::vector<int> &choices) {
    using Pair = std::tuple<size_t, int, size_t, int>;
    std::set<Pair> missing;
    for (size_t a = 0; a < choices.size(); a++) {
        for (size_t b = a + 1; b < choices.size(); b++) {
            for (int x = 0; x < choices[a]; x++) {
                for (int y = 0; y < choices[b]; y++) {
                    missing.insert({a, x, b, y});
                }
            }
        }
    }
    auto pairs_of = [](const std::vector<int> &row) {
        std::vector<Pair> pairs;
        for (size_t a = 0; a < row.size(); a++) {
            for (size_t b = a + 1; b < row.size(); b++) {
                pairs.push_back({a, row[a], b, row[b]});
            }
        }
        return pairs;
    };
    std::mt19937 random(1);
    std::vector<std::vector<int>> rows;
    while (!missing.empty()) {
        std::vector<int> best;
        size_t most = 0;
        for (int attempt = 0; attempt < 40; attempt++) {
            std::vector<int> row;
            for (const int count : choices) {
                row.push_back(int(random() % unsigned(count)));
            }
            const auto [a, x, b, y] = *missing.begin();
            row[a] = x;
            row[b] = y;
            size_t found = 0;
            for (const Pair &pair : pairs_of(row)) {
                found += missing.count(pair);
            }
            if (found > most) {
                most = found;
                best = row;
            }
        }
        for (const Pair &pair : pairs_of(best)) {
            missing.erase(pair);
        }
        rows.push_back(best);
    }
    return rows;
}

}  // namespace muattn::test
