// How part of a vector of an output is loaded with AVX-512. docs/halide-notes.md.
#include <Halide.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

namespace muattn::test {
namespace {

using namespace Halide;

// Whether an update of rows of any length, in vectors of four and rows of four, has a masked load that wants an aligned array.
bool loads_as_if_aligned(bool with_all_extents) {
    ImageParam in(Float(32), 2, "in");
    Var x("x"), y("y"), z("z"), xo("xo"), xi("xi"), yo("yo"), yi("yi");
    Func out("out");
    out(x, y, z) = undef<float>();
    out(x, y, z) += in(y, x);
    out.update()
        .split(x, xo, xi, 4, TailStrategy::GuardWithIf)
        .split(y, yo, yi, 4, TailStrategy::GuardWithIf)
        .reorder(xi, yi, xo, yo, z)
        .vectorize(xi)
        .unroll(yi);
    for (int dim = 0; dim < 3; dim++) {
        out.output_buffer().dim(dim).set_min(0);
    }
    if (with_all_extents) {
        out.output_buffer().dim(2).set_extent(1);
    }
    const std::string path = testing::TempDir() + "partial_vectors.s";
    out.compile_to_assembly(path, {in}, "partial_vectors",
                            Target("x86-64-linux-avx512_skylake-avx512-avx2-avx-f16c-fma-sse41-no_runtime"));
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) {
        if (line.find("vmovaps") != std::string::npos && line.find("{%k") != std::string::npos) {
            return true;
        }
    }
    return false;
}

TEST(PartialVectors, AreLoadedAsIfAligned) {
    EXPECT_TRUE(loads_as_if_aligned(true))
        << "they are no longer: generators/spatial_attention/key_blocks.cpp may say that there is one batch entry";
    EXPECT_FALSE(loads_as_if_aligned(false));
}

}  // namespace
}  // namespace muattn::test
