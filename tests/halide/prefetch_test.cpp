// Which lines a prefetch asks for. docs/halide-notes.md.
#include "generators/common/prefetch.h"

#include <gtest/gtest.h>

namespace muattn::test {
namespace {

using namespace Halide;

// What each prefetch of a pipeline adds to the offset of the one before it, in elements.
class Steps : public Internal::IRMutator {
public:
    explicit Steps(std::vector<int64_t> &steps) : steps(steps) {}

private:
    using IRMutator::visit;

    Internal::Stmt visit(const Internal::For *loop) override {
        loops.push_back(loop->name);
        const Internal::Stmt stmt = IRMutator::visit(loop);
        loops.pop_back();
        return stmt;
    }

    Expr visit(const Internal::Call *call) override {
        if (call->is_intrinsic(Internal::Call::prefetch)) {
            const auto offset = [&](int line) { return Internal::substitute(loops.back(), line, call->args[1]); };
            const auto step = Internal::as_const_int(Internal::simplify(offset(1) - offset(0)));
            steps.push_back(step ? *step : 0);
        }
        return IRMutator::visit(call);
    }

    std::vector<int64_t> &steps;
    std::vector<std::string> loops;
};

std::vector<int64_t> steps_of(bool with_pass, Type type) {
    ImageParam in(type, 2);
    const Var x("x"), y("y");
    const RDom r(0, 256);
    Func sum("sum");
    sum(y) = cast(type, 0);
    sum(y) += in(r, y);
    sum.update().reorder(r, y).prefetch(in, y, y, 2, PrefetchBoundStrategy::NonFaulting);
    Pipeline pipeline(sum);
    std::vector<int64_t> steps;
    if (with_pass) {
        PrefetchEveryLine::of(pipeline);
    }
    pipeline.add_custom_lowering_pass(new Steps(steps));
    pipeline.compile_to_module({in}, "sum", Target("x86-64-linux"));
    return steps;
}

TEST(Prefetch, CountsBytesAsElements) {
    EXPECT_EQ(steps_of(false, Float(32)), std::vector<int64_t>{64})
        << "it does no longer: generators/common/prefetch.h can go";
    EXPECT_EQ(steps_of(true, Float(32)), std::vector<int64_t>{16});
    EXPECT_EQ(steps_of(true, Float(64)), std::vector<int64_t>{8});
    EXPECT_EQ(steps_of(true, UInt(8)), std::vector<int64_t>{64});
}

}  // namespace
}  // namespace muattn::test
