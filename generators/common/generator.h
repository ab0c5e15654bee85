// The base of the generators, and what it adds: passes over lowered kernels for what Halide 21 has to be spared, or told, where it writes
// code for RISC-V.
#pragma once
#include "Halide.h"

namespace muattn {

// Through LLVM or through C++.
class ForRiscV : public Halide::Internal::IRMutator {
protected:
    using Expr = Halide::Expr;
    using Halide::Internal::IRMutator::visit;

    // The C++ takes a negative size, of a stage that is not used, for an overflow.
    Halide::Internal::Stmt visit(const Halide::Internal::Allocate *op) override {
        using namespace Halide::Internal;
        const Stmt mutated = IRMutator::visit(op);
        const Allocate *a = mutated.as<Allocate>();
        if (a == nullptr || a->constant_allocation_size() != 0) {
            return mutated;
        }
        std::vector<Expr> extents;
        for (const Expr &extent : a->extents) {
            extents.push_back(Max::make(extent, make_zero(extent.type())));
        }
        return Allocate::make(a->name, a->type, a->memory_type, extents, a->condition, a->body, a->new_expr,
                              a->free_function, a->padding);
    }
};

// With vectors, a select whose condition is one bit for all lanes fails in LLVM's verifier, and a mux is lowered to such
// selects where its index is the same for all lanes; the negation of a vector becomes a call of a function that nobody has.
// So conditions compare vectors, and a negation is a select.
class ForRiscVVectors : public ForRiscV {
protected:
    using ForRiscV::visit;

    static Expr as_vector(const Expr &x, int lanes) {
        return x.type().is_vector() ? x : Halide::Internal::Broadcast::make(x, lanes);
    }

    // Where some lanes are not loaded, Halide gives LLVM, which wants bytes, a stride in elements. An index that is no ramp makes
    // it gather.
    Expr visit(const Halide::Internal::Load *op) override {
        using namespace Halide::Internal;
        const Expr predicate = mutate(op->predicate), index = mutate(op->index);
        const Ramp *ramp = index.as<Ramp>();
        if (ramp == nullptr || is_const_one(predicate) || is_const_one(ramp->stride)) {
            return Load::make(op->type, op->name, index, op->image, op->param, predicate, op->alignment);
        }
        const int lanes = op->type.lanes();
        const Expr lane = Ramp::make(make_zero(ramp->base.type()), make_one(ramp->base.type()), lanes);
        const Expr offsets = Mul::make(lane, as_vector(ramp->stride, lanes));
        return Load::make(op->type, op->name, Add::make(as_vector(ramp->base, lanes), offsets), op->image, op->param,
                          predicate, ModulusRemainder());
    }

    Expr visit(const Halide::Internal::Select *op) override {
        using namespace Halide::Internal;
        const int lanes = op->type.lanes();
        const Expr condition = mutate(op->condition), a = mutate(op->true_value), b = mutate(op->false_value);
        const Broadcast *same = condition.as<Broadcast>();
        if (lanes == 1 || (same == nullptr && condition.type().is_vector())) {
            return Select::make(condition, a, b);
        }
        const Expr number = Cast::make(Halide::Int(32), same != nullptr ? same->value : condition);
        return Select::make(NE::make(as_vector(number, lanes), as_vector(Expr(0), lanes)), a, b);
    }

    Expr visit(const Halide::Internal::Not *op) override {
        using namespace Halide::Internal;
        const int lanes = op->type.lanes();
        const auto bits = [&](bool bit) { return as_vector(make_bool(bit), lanes); };
        return lanes == 1 ? IRMutator::visit(op) : Select::make(mutate(op->a), bits(false), bits(true));
    }

    Expr visit(const Halide::Internal::Call *op) override {
        using namespace Halide::Internal;
        const Expr mutated = IRMutator::visit(op);
        const Call *mux = mutated.as<Call>();
        if (mux == nullptr || !mux->is_intrinsic(Call::mux) || mux->type.is_scalar()) {
            return mutated;
        }
        const int lanes = mux->type.lanes();
        const Expr index = as_vector(mux->args[0], lanes);
        Expr chosen = as_vector(mux->args.back(), lanes);
        for (int i = int(mux->args.size()) - 3; i >= 0; i--) {
            const Expr is_i = EQ::make(index, as_vector(make_const(index.type().element_of(), i), lanes));
            chosen = Select::make(is_i, as_vector(mux->args[i + 1], lanes), chosen);
        }
        return chosen;
    }
};

template<typename T>
class KernelGenerator : public Halide::Generator<T> {
public:
    Halide::Pipeline build_pipeline() override {
        Halide::Pipeline pipeline = Halide::Generator<T>::build_pipeline();
        const Halide::Target target = this->get_target();
        if (target.has_feature(Halide::Target::RVV)) {
            pipeline.add_custom_lowering_pass(new ForRiscVVectors);
        } else if (target.arch == Halide::Target::RISCV) {
            pipeline.add_custom_lowering_pass(new ForRiscV);
        }
        return pipeline;
    }
};

}  // namespace muattn
