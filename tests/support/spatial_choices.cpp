#include "support/spatial_choices.h"

#include <array>
#include <iterator>
#include <limits>

namespace muattn::test {
namespace {

struct Causal {
    muattn_causal causal;
    int64_t offset;
};

const Causal kCausal[] = {{MUATTN_CAUSAL_NONE, 0},
                          {MUATTN_CAUSAL_TOP_LEFT, 0},
                          {MUATTN_CAUSAL_BOTTOM_RIGHT, 0},
                          {MUATTN_CAUSAL_OFFSET, 2},
                          {MUATTN_CAUSAL_OFFSET, -3}};
constexpr float kInfinity = std::numeric_limits<float>::infinity();
const muattn_window kWindows[] = {{0, 0, 0}, {1, 2, 0}, {1, -1, 1}, {1, 4, -1}, {1, 3, 3}};
enum Lengths { none, full, mixed, with_zero, lengths_count };
enum Heads { one, several, grouped, one_kv, heads_count };
// Which dimensions of a mask are full, and its kind.
struct Mask {
    SpatialCase::Mask kind;
    std::array<bool, 4> full;
};
const Mask kMasks[] = {{SpatialCase::no_mask, {}},
                       {SpatialCase::additive, {true, true, true, true}},
                       {SpatialCase::additive, {false, true, true, true}},
                       {SpatialCase::additive, {true, false, true, false}},
                       {SpatialCase::boolean, {true, true, true, true}},
                       {SpatialCase::boolean, {true, false, false, true}},
                       {SpatialCase::boolean, {false, false, true, true}}};
const float kSoftcaps[] = {0.0f, 1.5f, 30.0f};
enum Sink { no_sink, some_sinks, all_sinks, sink_count };
enum Scale { sp, mup, mup_d_base, mup_heads, umup, one_number, per_head, scale_count };

}  // namespace

SpatialCase spatial_case_of(const std::vector<int> &row, int64_t n_q, int64_t n_k) {
    SpatialCase c;
    c.B = 2, c.n_q = n_q, c.n_k = n_k, c.d = 11;
    c.causal = kCausal[row[0]].causal;
    c.causal_offset = kCausal[row[0]].offset;
    c.window = kWindows[row[1]];
    switch (row[2]) {
    case full: c.key_lengths = {n_k, n_k}; break;
    case mixed: c.key_lengths = {n_k, (n_k + 1) / 2}; break;
    case with_zero: c.key_lengths = {0, n_k - 1}; break;
    }
    switch (row[3]) {
    case several: c.H = 3, c.Hk = 3; break;
    case grouped: c.H = 6, c.Hk = 2; break;
    case one_kv: c.H = 3, c.Hk = 1; break;
    }
    switch (row[4]) {
    case mup: c.scaling = MUATTN_SCALING_MUP; break;
    case mup_d_base: c.scaling = MUATTN_SCALING_MUP, c.d_base = 32, c.power = 0.75; break;
    case mup_heads: c.scaling = MUATTN_SCALING_MUP_HEADS, c.alpha = 1.5; break;
    case umup: c.scaling = MUATTN_SCALING_UMUP, c.alpha = 2; break;
    case one_number: c.scale = {-0.4f}, c.output_multiplier = {-1.75f}; break;
    case per_head:
        for (int64_t h = 0; h < c.H; h++) {
            c.scale.push_back(0.1f * float(h + 1));
        }
        break;
    }
    c.lse = row[5] != 0;
    const Layout layouts[] = {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()};
    c.layout = layouts[row[6]];
    const int64_t d_v[] = {11, 1, 20};
    c.d_v = d_v[row[7]];
    c.mask = kMasks[row[8]].kind;
    c.mask_full = kMasks[row[8]].full;
    c.softcap = kSoftcaps[row[9]];
    for (int64_t h = 0; row[10] != no_sink && h < c.H; h++) {
        c.sink.push_back(row[10] == some_sinks && h % 3 == 1 ? -kInfinity : 3.0f - 2.0f * float(h));
    }
    return c;
}

const std::vector<int> kSpatialChoices = {
    int(std::size(kCausal)), int(std::size(kWindows)),  lengths_count, heads_count, scale_count, 2, 6, 3,
    int(std::size(kMasks)),  int(std::size(kSoftcaps)), sink_count};

}  // namespace muattn::test
