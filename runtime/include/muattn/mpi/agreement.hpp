// Whether all ranks call the same: a rank that went on alone would wait for the others until the time-out.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "muattn/mpi/messages.hpp"

namespace muattn::mpi::detail {

// What must be the same on all ranks, by name.
class Facts {
public:
    void add(const std::string &name, const std::string &value) { all_.emplace_back(name, value); }
    template<typename Number>
    void add_numbers(const std::string &name, const Number *numbers, int64_t count) {
        std::string text = numbers == nullptr ? "none" : "[";
        for (int64_t i = 0; numbers != nullptr && i < count; i++) {
            char number[32];
            if constexpr (std::is_floating_point_v<Number>) {
                snprintf(number, sizeof number, "%.17g", double(numbers[i]));
            } else {
                snprintf(number, sizeof number, "%lld", static_cast<long long>(numbers[i]));
            }
            text += (i > 0 ? ", " : "") + std::string(number);
        }
        add(name, numbers == nullptr ? text : text + "]");
    }
    template<typename Number>
    void add_number(const std::string &name, Number number) {
        add_numbers(name, &number, 1);
    }

    std::string text() const {
        std::string text;
        for (const auto &[name, value] : all_) {
            text += name + '\n' + value + '\n';
        }
        return text;
    }
    static Facts of(const std::string &text) {
        Facts facts;
        for (size_t at = 0; at < text.size();) {
            const size_t name = text.find('\n', at), value = text.find('\n', name + 1);
            facts.add(text.substr(at, name - at), text.substr(name + 1, value - name - 1));
            at = value + 1;
        }
        return facts;
    }
    const std::string *find(const std::string &name) const {
        for (const auto &fact : all_) {
            if (fact.first == name) {
                return &fact.second;
            }
        }
        return nullptr;
    }
    const std::vector<std::pair<std::string, std::string>> &all() const { return all_; }

private:
    std::vector<std::pair<std::string, std::string>> all_;
};

// FNV-1a, 64 bits.
inline int64_t fingerprint(const std::string &text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (unsigned char c : text) {
        hash = (hash ^ c) * UINT64_C(0x100000001b3);
    }
    return int64_t(hash);
}

// The first fact in which ranks differ.
inline std::string difference(const std::vector<Facts> &ranks) {
    const auto value = [](const Facts &facts, const std::string &name) {
        const std::string *found = facts.find(name);
        return found != nullptr ? *found : "none";
    };
    for (size_t rank = 1; rank < ranks.size(); rank++) {
        for (const Facts *facts : {&ranks[0], &ranks[rank]}) {
            for (const auto &fact : facts->all()) {
                const std::string &name = fact.first, first = value(ranks[0], name), other = value(ranks[rank], name);
                if (first != other) {
                    return "the ranks' " + name + " must be the same: rank 0 has " + first + ", rank " +
                           std::to_string(rank) + " has " + other;
                }
            }
        }
    }
    return "the ranks' calls differ";
}

// Two numbers of each rank's own: its tokens of q, and of k and v.
struct Counts {
    std::vector<int64_t> q, k;
};

// prepare(facts) checks this rank's arguments, tells what must be the same on all ranks, and returns this rank's two numbers. Throws on every rank
// where one rank's prepare() has thrown, or facts differ. A call that is right sends 5 numbers.
inline Counts agree(Messages &messages, const char *what,
                    const std::function<std::pair<int64_t, int64_t>(Facts &)> &prepare) {
    messages.require_usable(what);
    Facts facts;
    facts.add("function", what);
    std::pair<int64_t, int64_t> counts{};
    std::exception_ptr failure;
    muattn_status status = MUATTN_OK;
    try {
        counts = prepare(facts);
    } catch (const Error &error) {
        failure = std::current_exception(), status = error.status();
        facts.add("error", error.what());
    } catch (const std::exception &error) {
        failure = std::current_exception(), status = MUATTN_OUT_OF_MEMORY;
        facts.add("error", error.what());
    }
    constexpr int kNumbers = 5;
    const std::string text = facts.text();
    const int size = messages.size(), rank = messages.rank();
    std::vector<int64_t> headers(size_t(size) * kNumbers);
    const int64_t own[kNumbers] = {fingerprint(text), status, int64_t(text.size()), counts.first, counts.second};
    std::copy(own, own + kNumbers, headers.begin() + rank * kNumbers);
    {
        Transfers transfers(messages, what);
        auto memory = std::make_shared<std::vector<int64_t>>(std::move(headers));
        transfers.keep(memory);
        transfers.all_gather(memory->data(), kNumbers);
        transfers.wait();
        headers = std::move(*memory);
    }
    bool differ = false;
    int64_t longest = 0;
    muattn_status found = MUATTN_OK;
    Counts all;
    for (int r = 0; r < size; r++) {
        const int64_t *of_rank = &headers[size_t(r) * kNumbers];
        differ |= of_rank[0] != headers[0] || of_rank[1] != MUATTN_OK;
        found = found != MUATTN_OK ? found : muattn_status(of_rank[1]);
        longest = std::max(longest, of_rank[2]);
        all.q.push_back(of_rank[3]);
        all.k.push_back(of_rank[4]);
    }
    if (!differ) {
        return all;
    }
    auto texts = std::make_shared<std::vector<char>>(size_t(size) * longest);
    std::copy(text.begin(), text.end(), texts->begin() + rank * longest);
    {
        Transfers transfers(messages, what);
        transfers.keep(texts);
        transfers.all_gather(texts->data(), int(longest));
        transfers.wait();
    }
    if (failure) {
        std::rethrow_exception(failure);
    }
    std::vector<Facts> ranks;
    for (int r = 0; r < size; r++) {
        ranks.push_back(Facts::of({texts->data() + r * longest, size_t(headers[size_t(r) * kNumbers + 2])}));
        if (const std::string *error = ranks.back().find("error")) {
            throw Error(found, (std::string(what) + ": rank " + std::to_string(r) + " of the group has called " +
                                *ranks.back().find("function") + " with a wrong argument: " + *error)
                                   .c_str());
        }
    }
    throw Error(MUATTN_INVALID_ARGUMENT, (std::string(what) + ": " + difference(ranks)).c_str());
}

}  // namespace muattn::mpi::detail
