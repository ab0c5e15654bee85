// Tokens for heads and back.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "muattn/mpi/arrays.hpp"

namespace muattn::mpi::detail {

// Exchanges that go on at once. places: for each rank, the stretches of its tokens.
class HeadExchange {
public:
    HeadExchange(Messages &messages, const char *what) : messages_(messages), transfers_(messages, what) {}

    // [B, heads, this rank's tokens, d] to [B, heads / ranks, all tokens, d], which is there after wait().
    void to_heads(const muattn_tensor &tokens, const std::vector<distributed::Stretches> &places, Array &heads) {
        const int64_t B = tokens.shape[0], H = tokens.shape[1] / messages_.size(), d = tokens.shape[3];
        int64_t n = 0;
        for (const distributed::Stretches &of_rank : places) {
            n += distributed::count_of(of_rank);
        }
        heads = Array(tokens.dtype, {B, H, n, d});
        std::vector<std::pair<muattn_tensor, distributed::Stretches>> sent, received;
        for (size_t rank = 0; rank < ranks(); rank++) {
            sent.emplace_back(slice(tokens, 1, int64_t(rank) * H, H), whole(tokens.shape[2]));
            received.emplace_back(heads.view(), places[rank]);
        }
        start(sent, received);
    }
    // [B, heads / ranks, all tokens, d] to [B, heads, this rank's tokens, d], in the caller's tensor after wait().
    void to_tokens(const muattn_tensor &heads, const std::vector<distributed::Stretches> &places,
                   const muattn_tensor &tokens) {
        const int64_t H = heads.shape[1];
        std::vector<std::pair<muattn_tensor, distributed::Stretches>> sent, received;
        for (size_t rank = 0; rank < ranks(); rank++) {
            sent.emplace_back(heads, places[rank]);
            received.emplace_back(slice(tokens, 1, int64_t(rank) * H, H), whole(tokens.shape[2]));
        }
        start(sent, received);
    }
    void wait() {
        transfers_.wait();
        for (const Swap &swap : swaps_) {
            for (size_t rank = 0; rank < ranks(); rank++) {
                move(swap.received[rank], swap.memory.view(), swap.numbers->received_starts[rank], false);
            }
        }
        swaps_.clear();
    }

private:
    size_t ranks() const { return size_t(messages_.size()); }

    using Side = std::vector<std::pair<muattn_tensor, distributed::Stretches>>;  // for each rank: tokens of a tensor
    // What MPI reads until a swap has ended.
    struct Numbers {
        std::vector<int> sent_counts, sent_starts, received_counts, received_starts;
    };
    struct Swap {
        Side received;
        Array memory;
        std::shared_ptr<const Numbers> numbers;
    };

    static distributed::Stretches whole(int64_t n) {
        return n > 0 ? distributed::Stretches{{0, n}} : distributed::Stretches{};
    }
    static int64_t count(const std::pair<muattn_tensor, distributed::Stretches> &tokens) {
        const muattn_tensor &t = tokens.first;
        return t.shape[0] * t.shape[1] * distributed::count_of(tokens.second) * t.shape[3];
    }
    // Between stretches of a tensor and a dense [B, heads, tokens, d] at an element of memory.
    static void move(const std::pair<muattn_tensor, distributed::Stretches> &tokens, const muattn_tensor &memory,
                     int64_t start, bool packs) {
        const muattn_tensor &t = tokens.first;
        const muattn_tensor packed = tensor(static_cast<char *>(memory.data) + start * int64_t(bytes_of(t.dtype)),
                                            t.dtype, with_tokens(t, distributed::count_of(tokens.second)));
        const std::vector<distributed::Rows> rows = distributed::rows_of(tokens.second);
        for (size_t i = 0; i < rows.size(); i++) {
            const muattn_tensor there = slice(t, 2, tokens.second[i].start, tokens.second[i].count);
            const muattn_tensor here = tokens_of(packed, rows[i]);
            packs ? copy(there, here) : copy(here, there);
        }
    }
    void start(const Side &sent, const Side &received) {
        const auto numbers = std::make_shared<Numbers>();
        Swap swap{received, {}, numbers};
        int64_t to_send = 0, to_receive = 0;
        for (size_t rank = 0; rank < ranks(); rank++) {
            numbers->sent_counts.push_back(int(count(sent[rank])));
            numbers->sent_starts.push_back(int(to_send));
            numbers->received_counts.push_back(int(count(received[rank])));
            numbers->received_starts.push_back(int(to_receive));
            to_send += count(sent[rank]);
            to_receive += count(received[rank]);
        }
        const muattn_dtype dtype = sent[0].first.dtype;
        const Array memory(dtype, {1, 1, 1, to_send});
        swap.memory = Array(dtype, {1, 1, 1, to_receive});
        for (size_t rank = 0; rank < ranks(); rank++) {
            move(sent[rank], memory.view(), numbers->sent_starts[rank], true);
        }
        transfers_.keep(numbers);
        transfers_.keep(memory.memory());
        transfers_.keep(swap.memory.memory());
        transfers_.all_to_all(memory.view().data, numbers->sent_counts.data(), numbers->sent_starts.data(),
                              swap.memory.view().data, numbers->received_counts.data(), numbers->received_starts.data(),
                              mpi_type_of(dtype));
        swaps_.push_back(std::move(swap));
    }

    Messages &messages_;
    Transfers transfers_;
    std::vector<Swap> swaps_;
};

}  // namespace muattn::mpi::detail
