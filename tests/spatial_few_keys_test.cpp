// Spatial attention with few keys: the algorithm that holds all logits of a row at once.
#include <algorithm>
#include <string>

#include "support/backends.h"
#include "support/cases.h"
#include "support/tiles.h"

namespace muattn::test {
namespace {

class SpatialFewKeys : public OnEveryBackend {};
MUATTN_ON_EVERY_BACKEND(SpatialFewKeys);

void expect_agrees_by_few_keys(const SpatialCase &c) {
    expect_agrees(c);
    EXPECT_NE(std::string(muattn_last_kernel()).find("/few_keys"), std::string::npos) << muattn_last_kernel();
}

// Every register tile, whole and with each remainder.
TEST_P(SpatialFewKeys, KeysAndColumnsAroundTiles) {
    const auto s = few_keys_schedule(GetParam());
    for (const auto &tile : s.tiles()) {
        for (const int64_t n_k : around({tile.vectors * s.lanes, 2 * tile.vectors * s.lanes})) {
            for (const int64_t d_v : around({tile.vectors * s.lanes, 2 * tile.vectors * s.lanes})) {
                SpatialCase c;
                c.n_q = 33, c.n_k = n_k, c.d = 5, c.d_v = d_v;
                expect_agrees_by_few_keys(c);
            }
        }
    }
}

TEST_P(SpatialFewKeys, RowsAroundTilesAndBlocks) {
    const auto s = few_keys_schedule(GetParam());
    for (const int64_t n_q : around({2, 4, s.block_rows, 2 * s.block_rows, int64_t(s.block_rows) * s.tile_blocks})) {
        SpatialCase c;
        c.n_q = n_q, c.n_k = 3, c.d = 6, c.d_v = 5;
        expect_agrees_by_few_keys(c);
    }
}

TEST_P(SpatialFewKeys, Masks) {
    for (const auto mask : {SpatialCase::additive, SpatialCase::boolean}) {
        for (const bool rows_differ : {false, true}) {
            for (const bool keys_differ : {false, true}) {
                SpatialCase c;
                c.B = 2, c.Hk = 1, c.H = 2, c.n_q = 49, c.n_k = 49, c.d = 8, c.d_v = 9;
                c.mask = mask;
                c.mask_full = {true, true, rows_differ, keys_differ};
                expect_agrees_by_few_keys(c);
                c.lse = false;
                expect_agrees_by_few_keys(c);
            }
        }
    }
}

TEST_P(SpatialFewKeys, UpToTheMostKeys) {
    SpatialCase c;
    c.n_q = 40, c.n_k = 512, c.d = 16, c.d_v = 16;
    expect_agrees_by_few_keys(c);
    c.n_k = 513;
    expect_agrees(c);
    EXPECT_EQ(std::string(muattn_last_kernel()).find("/few_keys"), std::string::npos) << muattn_last_kernel();
}

TEST_P(SpatialFewKeys, SameBitsForAnyNumberOfThreads) {
    const auto s = few_keys_schedule(GetParam());
    SpatialCase c;
    c.B = 2, c.H = 3, c.Hk = 1, c.n_q = 2 * s.block_rows * s.tile_blocks + 5, c.n_k = 95, c.d = 20, c.d_v = 32;
    const SpatialTensors t = make_tensors(c);
    ASSERT_EQ(muattn_set_num_threads(1), MUATTN_OK);
    ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
    EXPECT_NE(std::string(muattn_last_kernel()).find("/few_keys"), std::string::npos) << muattn_last_kernel();
    const std::vector<float> out = t.out.elements(), lse = t.lse.elements();
    for (const int threads : {2, 7}) {
        ASSERT_EQ(muattn_set_num_threads(threads), MUATTN_OK);
        t.out.fill(untouched());
        ASSERT_EQ(run(c, t), MUATTN_OK) << muattn_last_error();
        EXPECT_EQ(t.out.elements(), out);
        EXPECT_EQ(t.lse.elements(), lse);
    }
}

// Many queries: the general kernel where it pads less, whole register tiles of keys and columns never, one key and one column on some
// machines. Few queries: never.
TEST_P(SpatialFewKeys, IsNotForKeysThatPadMuch) {
    const auto few_keys = few_keys_schedule(GetParam());
    const auto general = spatial_schedule(GetParam());
    SpatialCase c;
    c.n_q = 960, c.d = 8, c.n_k = c.d_v = 4 * few_keys.lanes;
    expect_agrees_by_few_keys(c);
    c.n_k = c.d_v = 1;
    expect_agrees(c);
    const bool by_few_keys = std::string(muattn_last_kernel()).find("/few_keys") != std::string::npos;
    EXPECT_EQ(by_few_keys, 16 * general.cost(c.n_q, 1, c.d, 1) >= 15 * few_keys.cost(c.n_q, 1, c.d, 1))
        << muattn_last_kernel();
    c.n_q = 511;
    expect_agrees_by_few_keys(c);
}

// What hides keys in order goes to the kernel that skips them.
TEST_P(SpatialFewKeys, IsNotForKeysThatCanBeSkipped) {
    SpatialCase c;
    c.n_q = 40, c.n_k = 40, c.d = 8, c.d_v = 8;
    SpatialCase causal = c, window = c, lengths = c;
    causal.causal = MUATTN_CAUSAL_TOP_LEFT;
    window.window = {1, 5, 5};
    lengths.key_lengths = {40};
    for (const SpatialCase &skips : {causal, window, lengths}) {
        expect_agrees(skips);
        EXPECT_EQ(std::string(muattn_last_kernel()).find("/few_keys"), std::string::npos) << muattn_last_kernel();
    }
}

}  // namespace
}  // namespace muattn::test
