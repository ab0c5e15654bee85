// A call of either operator as data: made, run, compared with the reference and, when that fails, printed.
#pragma once

#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <memory>
#include <vector>

#include "muattn/muattn.h"
#include "support/tensors.h"

namespace muattn::test {

// The options of the public interface, and what they point to: options() sets the pointers.
struct SpatialCase : muattn_spatial_options {
    SpatialCase() : muattn_spatial_options{} {}

    int64_t B = 1, H = 1, Hk = 1, n_q = 1, n_k = 1, d = 1, d_v = 1;
    std::vector<float> scale;                          // empty: by the rule
    std::vector<float> output_multiplier;              // empty: by the rule; else one
    std::vector<float> sink;                           // empty: none
    std::vector<int64_t> causal_offsets, key_lengths;  // empty: not given
    enum Mask { no_mask, additive, boolean } mask = no_mask;
    std::array<bool, 4> mask_full{true, true, true, true};  // else the dimension is 1
    bool lse = true;
    Layout layout = dense();
    double amplitude = 1;  // of q, k and v

    // They point into this case; they have no mask yet.
    muattn_spatial_options options() const;
};

struct SpatialTensors {
    Tensor q, k, v, out, lse;
    Tensor mask{};                          // a boolean one holds 0 and 1 here
    std::vector<uint8_t> mask_bytes{};      // and dense bytes, which muattn gets, here
    std::shared_ptr<Memory> mask_memory{};  // or here

    // Of a boolean mask, as close to a forbidden page as it gets.
    void move_mask(Memory::Place place);
    uint8_t *mask_data() const;
};

struct ChannelCase : muattn_channel_options {
    ChannelCase() : muattn_channel_options{} {}

    int64_t B = 1, H = 1, n = 1, d = 1;
    std::vector<float> scale;                       // empty: by the rule
    std::vector<float> output_multiplier;           // empty: by the rule; else one
    muattn_layout channels = MUATTN_CHANNELS_LAST;  // the options' layout
    Layout layout = dense();
    double amplitude = 1;

    muattn_channel_options options() const;
};

struct ChannelTensors {
    Tensor q, k, v, out;  // [B, H, n, d] or, with channels first, [B, H, d, n]
};

std::ostream &operator<<(std::ostream &out, const SpatialCase &c);
std::ostream &operator<<(std::ostream &out, const ChannelCase &c);

// Inputs are random, the output untouched.
SpatialTensors make_tensors(const SpatialCase &c);
ChannelTensors make_tensors(const ChannelCase &c);

// The options with their mask, which 'mask' has to keep.
muattn_spatial_options options_with_mask(const SpatialCase &c, const SpatialTensors &t, muattn_tensor &mask);

muattn_status run(const SpatialCase &c, const SpatialTensors &t);
muattn_status run(const ChannelCase &c, const ChannelTensors &t);

// What a test runs in place of muattn's function, if it is given: that shall be as near to the reference.
using Instead = std::function<muattn_status()>;

// The last call ran a kernel of the forced backend; but backends for scalable vectors leave negative strides of these to another.
void expect_current_backend_ran(std::initializer_list<const Tensor *> tensors);

// Runs the case on the current backend and expects: success, every element within the error model of the reference,
// nothing written but the output's elements, and a kernel of this backend as the one that ran. A call of few keys runs by the
// kernel for many as well.
void expect_agrees(const SpatialCase &c, const SpatialTensors &t, const Instead &instead = nullptr);
void expect_agrees(const ChannelCase &c, const ChannelTensors &t, const Instead &instead = nullptr);
inline void expect_agrees(const SpatialCase &c) { expect_agrees(c, make_tensors(c)); }
inline void expect_agrees(const ChannelCase &c) { expect_agrees(c, make_tensors(c)); }

}  // namespace muattn::test
