// Reads of scratch memory that was never written, on the processor.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

#include "devices.h"
#include "in_child.h"

namespace muattn::test {
namespace {

using namespace Halide;

void *poisoned(JITUserContext *, size_t bytes) {
    void *memory = nullptr;
    if (posix_memalign(&memory, 128, bytes) != 0) {
        return nullptr;
    }
    return memset(memory, 0xff, bytes);
}
void deallocate(JITUserContext *, void *memory) { free(memory); }

// A stage over a window of two, the first of which has no predecessor: the index is clamped, or what is read there.
std::vector<float> sliding(bool clamped_index) {
    const Var c("c");
    Func stage("stage"), out("out");
    stage(c) = cast<float>(clamped_index ? c : max(c, 0));
    out(c) = stage(c) + stage(clamped_index ? max(c - 1, 0) : c - 1);
    stage.store_root().compute_at(out, c);
    out.jit_handlers().custom_malloc = poisoned;
    out.jit_handlers().custom_free = deallocate;
    return values_of(out, 8, get_host_target());
}

TEST(SlidingWindow, WithAClampedIndexReadsWhatIsNotWritten) {
    const Outcome clamped_inside = in_child([] { return sliding(false); }),
                  clamped_index = in_child([] { return sliding(true); });
    EXPECT_EQ(clamped_inside, (Outcome{{0, 1, 3, 5, 7, 9, 11, 13}, ""}));
    EXPECT_NE(clamped_index, clamped_inside) << "it does no longer: the line in docs/halide-notes.md can go";
}

}  // namespace
}  // namespace muattn::test
