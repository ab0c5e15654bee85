// Whether all ranks call the same: a rank that went on alone would wait for the others until the time-out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "muattn/mpi/messages.hpp"

namespace muattn::mpi::detail {

[[noreturn]] inline void refuse(const char *what, muattn_status status, const std::string &why) {
    throw Error(status, (std::string(what) + ": " + why).c_str());
}

inline std::string words_of(const std::vector<int64_t> &numbers) {
    std::string words;
    for (int64_t number : numbers) {
        words += (words.empty() ? "" : ", ") + std::to_string(number);
    }
    return "[" + words + "]";
}

// What must be the same on all ranks, by name.
class Facts {
public:
    void add(const std::string &name, std::string value) {
        std::replace(value.begin(), value.end(), '\n', ' ');  // which ends a line of text()
        all_.emplace_back(name, value);
    }
    void add_flag(const std::string &name, bool value) { add(name, value ? "yes" : "no"); }
    template<typename Number>
    void add_number(const std::string &name, Number number) {
        add(name, word_of(number));
    }
    // Null: none.
    template<typename Number>
    void add_numbers(const std::string &name, const Number *numbers, int64_t count) {
        std::string words;
        for (int64_t i = 0; numbers != nullptr && i < count; i++) {
            words += (i > 0 ? ", " : "") + word_of(numbers[i]);
        }
        add(name, numbers == nullptr ? "none" : "[" + words + "]");
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
    template<typename Number>
    static std::string word_of(Number number) {
        char word[32];
        if constexpr (std::is_floating_point_v<Number>) {
            snprintf(word, sizeof word, "%.9g", double(number));
        } else {
            snprintf(word, sizeof word, "%lld", static_cast<long long>(number));
        }
        return word;
    }

    std::vector<std::pair<std::string, std::string>> all_;
};

// FNV-1a, 64 bits.
inline int64_t fingerprint(const std::string &text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (char c : text) {
        hash = (hash ^ uint64_t(static_cast<unsigned char>(c))) * UINT64_C(0x100000001b3);
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

// A rank's tokens; all ranks'.
struct OwnTokens {
    int64_t q = 0, k = 0;  // k: of v, too
};
struct TokenCounts {
    std::vector<int64_t> q, k;
};

// prepare(facts) checks this rank's arguments, tells what must be the same on all ranks, and returns this rank's tokens. Throws the same Error on
// every rank where one rank's prepare() has thrown, or facts differ. A call that is right sends 5 numbers.
inline TokenCounts agree(Messages &messages, const char *what, const std::function<OwnTokens(Facts &)> &prepare) {
    messages.require_usable(what);
    Facts facts;
    facts.add("function", what);
    OwnTokens own_tokens;
    muattn_status status = MUATTN_OK;
    try {
        own_tokens = prepare(facts);
    } catch (const Error &error) {
        status = error.status();
        facts.add("error", error.what());
    } catch (const std::exception &error) {
        status = MUATTN_OUT_OF_MEMORY;
        facts.add("error", error.what());
    }
    constexpr int kNumbers = 5;
    const std::string text = facts.text();
    const int size = messages.size(), rank = messages.rank();
    const auto headers = std::make_shared<std::vector<int64_t>>(size_t(size) * kNumbers);
    const int64_t own[kNumbers] = {fingerprint(text), status, int64_t(text.size()), own_tokens.q, own_tokens.k};
    std::copy(own, own + kNumbers, headers->begin() + rank * kNumbers);
    Transfers transfers(messages, what);
    transfers.keep(headers);
    transfers.all_gather(headers->data(), kNumbers);
    transfers.wait();
    bool differ = false;
    int64_t longest = 0;
    TokenCounts all;
    for (int r = 0; r < size; r++) {
        const int64_t *of_rank = headers->data() + r * kNumbers;
        differ |= of_rank[0] != headers->front() || of_rank[1] != MUATTN_OK;
        longest = std::max(longest, of_rank[2]);
        all.q.push_back(of_rank[3]);
        all.k.push_back(of_rank[4]);
    }
    if (!differ) {
        return all;
    }
    const auto texts = std::make_shared<std::vector<char>>(size_t(size) * size_t(longest));
    std::copy(text.begin(), text.end(), texts->begin() + rank * longest);
    transfers.keep(texts);
    transfers.all_gather(texts->data(), int(longest));
    transfers.wait();
    std::vector<Facts> ranks;
    for (int r = 0; r < size; r++) {
        const int64_t *of_rank = headers->data() + r * kNumbers;
        ranks.push_back(Facts::of({texts->data() + r * longest, size_t(of_rank[2])}));
        if (const std::string *error = ranks.back().find("error")) {
            const std::string who = size > 1 ? "rank " + std::to_string(r) + " of the group: " : "";
            refuse(what, muattn_status(of_rank[1]), who + *error);
        }
    }
    refuse(what, MUATTN_INVALID_ARGUMENT, difference(ranks));
}

}  // namespace muattn::mpi::detail
