// Blocks of keys and values on their way round the ring, each from its rank to the next, and their gradients behind them.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "muattn/mpi/arrays.hpp"

namespace muattn::mpi::detail {

// Two arrays that travel together: keys and values, or their gradients.
struct Block {
    muattn_tensor keys, values;
    Array key_memory{}, value_memory{};  // empty: the caller's

    Block(const muattn_tensor &k, const muattn_tensor &v) : keys(with_strides(k)), values(with_strides(v)) {}
    // For n tokens of k's and v's shapes.
    Block(const muattn_tensor &k, const muattn_tensor &v, int64_t n, muattn_dtype dtype)
        : keys{}, values{}, key_memory(dtype, with_tokens(k, n)), value_memory(dtype, with_tokens(v, n)) {
        keys = key_memory.view(), values = value_memory.view();
    }
    Block copied() const {
        Block block(keys, values, keys.shape[2], keys.dtype);
        copy(keys, block.keys);
        copy(values, block.values);
        return block;
    }
    void fill(float value) const {
        detail::fill(keys, value);
        detail::fill(values, value);
    }
};

enum class Cargo { block = 0, gradient, gradient_home };

// begin(tensor, tag) for both arrays, which the transfers keep.
template<typename Begin>
void start(Transfers &transfers, const Block &block, Cargo cargo, const Begin &begin) {
    transfers.keep(block.key_memory.memory());
    transfers.keep(block.value_memory.memory());
    begin(block.keys, 2 * int(cargo));
    begin(block.values, 2 * int(cargo) + 1);
}
inline void send(Transfers &transfers, const Block &block, int to, Cargo cargo) {
    start(transfers, block, cargo,
          [&](const muattn_tensor &t, int tag) { transfers.send(t.data, size_of(t), mpi_type_of(t.dtype), to, tag); });
}
inline void receive(Transfers &transfers, const Block &block, int source, Cargo cargo) {
    start(transfers, block, cargo, [&](const muattn_tensor &t, int tag) {
        transfers.receive(t.data, size_of(t), mpi_type_of(t.dtype), source, tag);
    });
}

struct Route {
    Messages &messages;
    const char *what;
    std::vector<int64_t> counts;     // of each rank's keys
    std::vector<int64_t> last_hops;  // how far each rank's block goes

    int rank_after(int rank, int64_t hops) const { return int((rank + hops) % messages.size()); }
    int next() const { return rank_after(messages.rank(), 1); }
    int previous() const { return rank_after(messages.rank(), messages.size() - 1); }
    // Whose block is here after so many hops; -1: none comes.
    int owner(int64_t hop) const {
        const int rank = rank_after(messages.rank(), messages.size() - hop);
        return hop < messages.size() && hop <= last_hops[size_t(rank)] ? rank : -1;
    }
};

// visit(hop, owner, block) for this rank's own block, then for each that comes. Meanwhile it is sent on, and the next one received.
template<typename Visit>
void for_blocks(const Route &route, const muattn_tensor &k, const muattn_tensor &v, const Visit &visit) {
    std::optional<Block> block(std::in_place, k, v);
    for (int64_t hop = 0; hop < route.messages.size(); hop++) {
        const int owner = route.owner(hop), following = route.owner(hop + 1);
        std::optional<Block> arriving;
        Transfers transfers(route.messages, route.what);
        if (following >= 0) {
            arriving.emplace(k, v, route.counts[size_t(following)], k.dtype);
            receive(transfers, *arriving, route.previous(), Cargo::block);
        }
        if (owner >= 0 && hop < route.last_hops[size_t(owner)]) {
            if (hop == 0) {
                block = block->copied();
            }
            send(transfers, *block, route.next(), Cargo::block);
        }
        if (owner >= 0) {
            visit(hop, owner, *block);
        }
        transfers.wait();
        block = std::move(arriving);
    }
}

// Sums of a block's gradients, in float32: each rank adds its share to what has come, and sends that after the block; the last
// one sends it home.
class TravellingGradients {
public:
    TravellingGradients(const Route &route, const muattn_tensor &k, const muattn_tensor &v)
        : route_(route), k_(k), v_(v), home_(k, v, k.shape[2], MUATTN_FLOAT32) {
        const int64_t last = route.last_hops[size_t(route.messages.rank())];
        comes_home_ = last > 0;
        if (comes_home_) {
            homecoming_.emplace(route.messages, route.what);
            receive(*homecoming_, home_, route.rank_after(route.messages.rank(), last), Cargo::gradient_home);
        }
    }

    // Zeros, for the gradients by a rank's keys and values.
    Block new_share(int owner) const {
        const Block share = new_block(route_.counts[size_t(owner)]);
        share.fill(0.0f);
        return share;
    }

    // Before the share is computed: what has been added up so far is received meanwhile.
    void expect(int64_t hop, int owner) {
        if (hop > 0) {
            so_far_.emplace(new_block(route_.counts[size_t(owner)]));
            arrival_.emplace(route_.messages, route_.what);
            receive(*arrival_, *so_far_, route_.previous(), Cargo::gradient);
        }
    }

    // share: none where this rank sees none of the block's keys, which happens but on the way to one that does.
    void add(int64_t hop, int owner, std::optional<Block> share) {
        if (hop == 0 && !share) {
            share = new_share(owner);
        }
        if (hop == 0 && !comes_home_) {
            home_ = *share;
            return;
        }
        if (hop > 0) {
            arrival_->wait();
            arrival_.reset();
            if (share) {
                detail::add(share->keys, so_far_->keys);
                detail::add(share->values, so_far_->values);
            }
            share = std::move(so_far_);
            so_far_.reset();
        }
        settle();
        departure_.emplace(route_.messages, route_.what);
        const bool is_last = hop == route_.last_hops[size_t(owner)];
        send(*departure_, *share, is_last ? owner : route_.next(), is_last ? Cargo::gradient_home : Cargo::gradient);
    }

    // Of this rank's own keys and values.
    const Block &result() {
        settle();
        if (homecoming_) {
            homecoming_->wait();
            homecoming_.reset();
        }
        return home_;
    }

private:
    Block new_block(int64_t n) const { return Block(k_, v_, n, MUATTN_FLOAT32); }
    void settle() {
        if (departure_) {
            departure_->wait();
            departure_.reset();
        }
    }

    const Route &route_;
    const muattn_tensor &k_, &v_;
    Block home_;
    bool comes_home_ = false;
    std::optional<Block> so_far_;
    std::optional<Transfers> homecoming_, arrival_, departure_;
};

}  // namespace muattn::mpi::detail
