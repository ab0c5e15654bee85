// Channel attention: normalised channels and channels-first arrays.
#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class ChannelFeatures : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ChannelFeatures);

std::vector<ChannelCase> variants(ChannelCase c) {
    std::vector<ChannelCase> all;
    for (const muattn_layout channels : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        for (const bool normalize : {false, true}) {
            c.channels = channels;
            c.normalize = normalize;
            // With normalised channels logits are bounded by the scale: the learned temperature.
            c.scale = normalize ? std::vector<float>(size_t(c.H), 7.0f) : std::vector<float>();
            all.push_back(c);
        }
    }
    return all;
}

TEST_P(ChannelFeatures, EverySmallSize) {
    for (const int64_t n : up_to(17)) {
        for (const int64_t d : up_to(17)) {
            ChannelCase c;
            c.n = n, c.d = d;
            for (const ChannelCase &variant : variants(c)) {
                expect_agrees(variant);
            }
        }
    }
}

TEST_P(ChannelFeatures, AroundTilesOfChannelsFirst) {
    const auto s = channel_first_schedule(GetParam());
    for (const int64_t d : around({s.map_columns * 5, s.tile_rows(), 2 * s.tile_rows()})) {
        for (const int64_t n : around({s.token_vectors * s.lanes, s.tile_tokens, s.chunk_tokens})) {
            ChannelCase c;
            c.n = n, c.d = d;
            c.channels = MUATTN_CHANNELS_FIRST;
            expect_agrees(c);
            c.normalize = true;
            c.scale = {5.0f};
            expect_agrees(c);
        }
    }
}

TEST_P(ChannelFeatures, NormalizedAroundTilesOfChannelsLast) {
    for (const auto &s : channel_schedules(GetParam())) {
        std::vector<int64_t> sizes = around({2 * s.block_rows(), s.tile_rows(), s.tile_rows() + s.block_rows()});
        const std::vector<int64_t> small = up_to(s.block_rows() + s.lanes + 1);
        sizes.insert(sizes.end(), small.begin(), small.end());
        for (const int64_t d : sizes) {
            for (const int64_t n : {int64_t(11), int64_t(s.chunk_tokens + 1)}) {
                ChannelCase c;
                c.n = n, c.d = d, c.H = 2, c.normalize = true;
                c.scale = {7.0f, 5.0f};
                expect_agrees(c);
            }
        }
    }
}

TEST_P(ChannelFeatures, SpansOfTokens) {
    const auto s = channel_first_schedule(GetParam());
    for (const int64_t chunks : {3, 8, 33}) {
        ChannelCase c;
        c.n = chunks * s.chunk_tokens + 11, c.d = 10, c.H = 2;
        for (const ChannelCase &variant : variants(c)) {
            expect_agrees(variant);
        }
    }
}

// Whole blocks of channels, and whole chunks of tokens: products that every backend reads where they are.
TEST_P(ChannelFeatures, WholeBlocks) {
    for (const int64_t d : {16, 24, 32, 48, 64, 96, 128, 320}) {
        for (const int64_t n : {1, 5, 128, 131}) {
            for (const Layout &layout : {dense(), token_major(), padded(), reversed(), repeated()}) {
                ChannelCase c;
                c.H = 2, c.n = n, c.d = d, c.layout = layout;
                for (const bool normalize : {false, true}) {
                    c.normalize = normalize;
                    c.scale = normalize ? std::vector<float>{7.0f, 5.0f} : std::vector<float>();
                    expect_agrees(c);
                }
            }
        }
    }
}

TEST_P(ChannelFeatures, WholeChunksOfChannelsFirst) {
    const auto s = channel_first_schedule(GetParam());
    for (const int64_t n : {int64_t(s.lanes), int64_t(s.chunk_tokens), int64_t(3 * s.chunk_tokens)}) {
        for (const Layout &layout : {dense(), padded(), reversed()}) {
            ChannelCase c;
            c.n = n, c.d = 13, c.layout = layout;
            c.channels = MUATTN_CHANNELS_FIRST;
            expect_agrees(c);
            c.normalize = true;
            c.scale = {5.0f};
            expect_agrees(c);
        }
    }
}

TEST_P(ChannelFeatures, Layouts) {
    for (const Layout &layout : {dense(), token_major(), batch_inside(), padded(), reversed(), repeated()}) {
        ChannelCase c;
        c.B = 2, c.H = 3, c.n = 37, c.d = 21, c.layout = layout;
        for (const ChannelCase &variant : variants(c)) {
            expect_agrees(variant);
        }
    }
}

// A channel without length: the map's row, or column, is that of logits 0.
TEST_P(ChannelFeatures, ZeroChannels) {
    ChannelCase c;
    c.n = 40, c.d = 12;
    for (const ChannelCase &variant : variants(c)) {
        const ChannelTensors t = make_tensors(variant);
        const bool first = variant.channels == MUATTN_CHANNELS_FIRST;
        for (int64_t u = 0; u < c.n; u++) {
            (first ? t.q.swapped() : t.q).at(0, 0, u, 3) = 0;
            (first ? t.k.swapped() : t.k).at(0, 0, u, 5) = 0;
        }
        expect_agrees(variant, t);
    }
}

}  // namespace
}  // namespace muattn::test
