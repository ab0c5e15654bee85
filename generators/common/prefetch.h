// Prefetches that reach every cache line.
#pragma once
#include <string>
#include <vector>

#include "Halide.h"

namespace muattn {

// Halide 21 splits what it prefetches into lines of bytes, and then counts as many elements: of float32 data it asks for every fourth
// line. A pass over a pipeline whose schedule prefetches; the step is an argument of the prefetch, in elements.
class PrefetchEveryLine : public Halide::Internal::IRMutator {
public:
    static void of(Halide::Pipeline pipeline) { pipeline.add_custom_lowering_pass(new PrefetchEveryLine); }

protected:
    using IRMutator::visit;

    Halide::Internal::Stmt visit(const Halide::Internal::For *loop) override {
        const std::string outer = line;
        if (loop->name.find("prefetch_split_") != std::string::npos) {
            line = loop->name;
        }
        const Halide::Internal::Stmt stmt = IRMutator::visit(loop);
        line = outer;
        return stmt;
    }

    Halide::Expr visit(const Halide::Internal::Call *call) override {
        if (line.empty() || !call->is_intrinsic(Halide::Internal::Call::prefetch)) {
            return IRMutator::visit(call);
        }
        std::vector<Halide::Expr> args = call->args;  // base, offset, 1, elements of a line
        const Halide::Expr number = Halide::Internal::Variable::make(Halide::Int(32), line);
        args[1] = Halide::Internal::simplify(Halide::Internal::substitute(line, 0, args[1]) + number * args[3]);
        return Halide::Internal::Call::make(call->type, call->name, args, call->call_type);
    }

private:
    std::string line;  // the loop over the lines of what is prefetched
};

}  // namespace muattn
