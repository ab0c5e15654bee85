// Channel attention at every size where a kernel changes its way.
#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

ChannelCase sized(int64_t n, int64_t d) {
    ChannelCase c;
    c.n = n, c.d = d;
    return c;
}

class ChannelShapes : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ChannelShapes);

TEST_P(ChannelShapes, SmallSizes) {
    for (const int64_t n : up_to(17)) {
        for (const int64_t d : up_to(17)) {
            expect_agrees(sized(n, d));
        }
    }
}

TEST_P(ChannelShapes, ChannelsAroundTiles) {
    for (const auto &s : channel_schedules(GetParam())) {
        for (const int64_t d : around({s.lanes, 2 * s.lanes, s.block_rows(), 2 * s.block_rows(), s.column_group,
                                       2 * s.column_group, s.tile_rows(), s.tile_rows() + s.block_rows(),
                                       2 * s.tile_rows(), s.value_columns, 2 * s.value_columns})) {
            for (const int64_t n : {int64_t(1), int64_t(s.token_unroll), int64_t(11)}) {
                expect_agrees(sized(n, d));
            }
        }
    }
}

TEST_P(ChannelShapes, TokensAroundChunks) {
    const auto s = channel_schedule(GetParam());
    for (const int64_t n : around({s.token_unroll, 2 * s.token_unroll, s.chunk_tokens, s.chunk_tokens + s.token_unroll,
                                   2 * s.chunk_tokens, 3 * s.chunk_tokens})) {
        expect_agrees(sized(n, 1));
        expect_agrees(sized(n, 5));
        expect_agrees(sized(n, s.block_rows() + 1));
    }
}

TEST_P(ChannelShapes, LargeHeadDimensions) {
    for (const int64_t d : {256, 509, 1023, 1024}) {
        expect_agrees(sized(3, d));
    }
    expect_agrees(sized(40, 1024));
}

TEST_P(ChannelShapes, ManyTokens) {
    expect_agrees(sized(5000, 3));
    expect_agrees(sized(1031, 24));
}

TEST_P(ChannelShapes, Primes) {
    const int64_t primes[] = {2,  3,  5,  7,  11, 13, 17, 19, 23, 29,  31,  37,  41,  43,  47,  53,
                              59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109, 113, 127, 131};
    for (size_t i = 0; i < std::size(primes); i++) {
        expect_agrees(sized(primes[i], primes[(i * 7 + 3) % std::size(primes)]));
    }
}

TEST_P(ChannelShapes, BatchesAndHeads) {
    for (const int64_t B : {1, 2, 3}) {
        for (const int64_t H : {1, 2, 5}) {
            ChannelCase c = sized(19, 23);
            c.B = B, c.H = H;
            expect_agrees(c);
        }
    }
}

class ChannelShapesSweep : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(ChannelShapesSweep);

TEST_P(ChannelShapesSweep, AMillionTokens) {
    ChannelCase c = sized(1000000, 3);
    for (const auto layout : {MUATTN_CHANNELS_LAST, MUATTN_CHANNELS_FIRST}) {
        c.channels = layout;
        expect_agrees(c);
    }
}

TEST_P(ChannelShapesSweep, TilesByChunks) {
    const auto s = channel_schedule(GetParam());
    for (const int64_t d : around({s.column_group, s.block_rows(), s.tile_rows(), 2 * s.tile_rows()})) {
        for (const int64_t n : around({s.token_unroll, s.chunk_tokens, 2 * s.chunk_tokens})) {
            expect_agrees(sized(n, d));
        }
    }
}

TEST_P(ChannelShapesSweep, EveryHeadDimension) {
    for (const int64_t d : up_to(200)) {
        expect_agrees(sized(7, d));
    }
}

TEST_P(ChannelShapesSweep, EveryTokenCount) {
    for (const int64_t n : up_to(400)) {
        expect_agrees(sized(n, 9));
    }
}

}  // namespace
}  // namespace muattn::test
