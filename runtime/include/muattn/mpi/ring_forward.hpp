// Spatial attention whose keys and values travel from rank to rank: the forward pass.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "muattn/mpi/ring_call.hpp"

namespace muattn::mpi::detail {

// A result over some keys: out [B, H, n, d_v] in float32, before the output multiplier, and lse [B, H, n, 1].
struct Partial {
    muattn_tensor out, lse;
    Array out_memory, lse_memory;

    Partial(int64_t B, int64_t H, int64_t n, int64_t d_v)
        : out_memory(MUATTN_FLOAT32, {B, H, n, d_v}), lse_memory(MUATTN_FLOAT32, {B, H, n, 1}) {
        out = out_memory.view(), lse = lse_memory.view();
    }
    Partial rows(int64_t start, int64_t count) const {
        Partial some = *this;
        some.out = slice(out, 2, start, count), some.lse = slice(lse, 2, start, count);
        return some;
    }
};

// Each stretch of queries has its result so far, into which every part's is merged.
class RingForward {
public:
    RingForward(const RingCall &call, const muattn_tensor &q, int64_t d_v)
        : call_(call), q_(q), d_v_(d_v), so_far_(call.query_rows.size()) {
        for (size_t i = 0; call.sink() != nullptr && i < so_far_.size(); i++) {
            so_far_[i] = of_no_keys(call.query_rows[i].count());
        }
    }

    void attend(const std::vector<distributed::Part> &parts, const Block &block) {
        for (const distributed::Part &part : parts) {
            Partial found(q_.shape[0], q_.shape[1], part.queries.count(), d_v_);
            spatial_attention(tokens_of(q_, part.queries), tokens_of(block.keys, part.keys),
                              tokens_of(block.values, part.keys), found.out, found.lse, call_.options_of(part));
            for (size_t i = 0; i < so_far_.size(); i++) {
                const distributed::Rows &rows = call_.query_rows[i];
                if (part.queries.start <= rows.start && rows.stop <= part.queries.stop) {
                    add(so_far_[i], found.rows(rows.start - part.queries.start, rows.count()));
                }
            }
        }
    }

    // lse null: not wanted.
    void write(const muattn_tensor &out, const muattn_tensor *lse) && {
        for (size_t i = 0; i < so_far_.size(); i++) {
            const distributed::Rows &rows = call_.query_rows[i];
            const Partial found = so_far_[i] ? *so_far_[i] : of_no_keys(rows.count());
            if (call_.output_multiplier != 1.0f) {
                multiply(found.out, call_.output_multiplier);
            }
            convert(found.out, tokens_of(out, rows));
            if (lse != nullptr) {
                copy(found.lse, tokens_of(*lse, rows));
            }
        }
    }

private:
    // An output of 0, and an lse of the sink.
    Partial of_no_keys(int64_t n) const {
        const int64_t H = q_.shape[1];
        Partial result(q_.shape[0], H, n, d_v_);
        fill(result.out, 0.0f);
        for (int64_t i = 0; i < result.lse_memory.size(); i++) {
            const float none = -std::numeric_limits<float>::infinity();
            result.lse_memory.floats()[i] = call_.sink() != nullptr ? call_.sink()[i / n % H] : none;
        }
        return result;
    }
    static void add(std::optional<Partial> &so_far, const Partial &found) {
        if (!so_far) {
            so_far = found;
            return;
        }
        const Partial merged(found.out.shape[0], found.out.shape[1], found.out.shape[2], found.out.shape[3]);
        merge(so_far->out, so_far->lse, found.out, found.lse, merged.out, merged.lse);
        so_far = merged;
    }

    const RingCall &call_;
    const muattn_tensor &q_;
    int64_t d_v_;
    std::vector<std::optional<Partial>> so_far_;
};

inline void ring_forward(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                         const muattn_tensor &out, const muattn_tensor *lse, const SpatialOptions &options,
                         Balance balance) {
    constexpr const char *kWhat = "ring_attention()";
    Messages &messages = group.messages();
    const TokenCounts counts = agree(messages, kWhat, [&](Facts &facts) {
        require_ring(q, k, options);
        const SpatialOptions of_part = options_of_part(options);
        check(muattn_spatial_attention_forward_check(&q, &k, &v, &of_part, &out, lse));
        add_facts(facts, q, k, v, options);
        add_fact(facts, balance);
        return OwnTokens{q.shape[2], k.shape[2]};
    });
    const RingCall call(messages, kWhat, counts, q, options, balance);
    const Exchange exchange(messages);
    Array memory;
    const muattn_tensor queries = as_floats(q, memory);
    RingForward forward(call, queries, v.shape[3]);
    for_blocks(call.route, k, v, [&](int64_t, int owner, const Block &block) {
        messages.beside([&] { forward.attend(call.parts(owner), block); });
    });
    std::move(forward).write(out, lse);
}

}  // namespace muattn::mpi::detail
