// Spatial attention whose keys and values travel from rank to rank.
#pragma once

#include "muattn/mpi/ring_backward.hpp"
#include "muattn/mpi/ring_forward.hpp"

namespace muattn::mpi {

// muattn::spatial_attention() over the tokens of all ranks. Keys and values travel from rank to rank, while kernels run on those that are there; a rank never
// has more than three ranks' of them.
//
//   q, k, v  this rank's tokens, [B, H, n_local, d], [B, Hk, n_local, d] and [B, Hk, n_local, d_v]. Without balance ranks hold neighbouring stretches of any
//            lengths, in order, and queries may be cut elsewhere than keys; with Balance::zigzag those that stretches() gives
//   out, lse of this rank's queries
//   options  as there, the same on each rank. They speak of the whole sequence: causal, window and key_lengths count tokens of all ranks. No
//            mask, no int8
//   balance  with MUATTN_CAUSAL_TOP_LEFT and zigzag each rank has as much to do; in order the last one has most
//
// Keys travel as far as a query sees one of them, so a window sends few. Ranks add up in float32; keys and values travel in their own type.
//
// Throws on every rank: Error where an argument is wrong on one of them, or ranks differ in what must be the same; nothing has been written then.
// CommunicationError where another rank does not answer. What goes wrong on one rank later, as too little memory, is an Error there alone: the group is of
// no more use, and the others wait until the time-out.
inline void ring_attention(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                           const muattn_tensor &out, const SpatialOptions &options = {},
                           Balance balance = Balance::none) {
    detail::ring_forward(group, q, k, v, out, nullptr, options, balance);
}
inline void ring_attention(Group &group, const muattn_tensor &q, const muattn_tensor &k, const muattn_tensor &v,
                           const muattn_tensor &out, const muattn_tensor &lse, const SpatialOptions &options = {},
                           Balance balance = Balance::none) {
    detail::ring_forward(group, q, k, v, out, &lse, options, balance);
}

// The gradients of a loss, the sum of what the ranks have, by this rank's q, k and v.
//
//   q, k, v, options, balance  as ring_attention() had them
//   out, lse                   what it gave
//   d_out, d_lse               like out and lse; d_lse null: 0
//   gradients                  those that are wanted. d_scale, d_sink and d_output_multiplier are this rank's share: those of all ranks add up. No d_mask
//
// Keys and values travel once more, and their gradients, in float32, behind them. Throws as ring_attention() does.
inline void ring_attention_backward(Group &group, const muattn_tensor &q, const muattn_tensor &k,
                                    const muattn_tensor &v, const muattn_tensor &out, const muattn_tensor &lse,
                                    const muattn_tensor &d_out, const SpatialGradients &gradients,
                                    const SpatialOptions &options = {}, Balance balance = Balance::none,
                                    const muattn_tensor *d_lse = nullptr) {
    detail::ring_backward(group, q, k, v, out, lse, d_out, gradients, options, balance, d_lse);
}

}  // namespace muattn::mpi
