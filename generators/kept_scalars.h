// Numbers that a task keeps, as variables.
#pragma once
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "Halide.h"

namespace muattn {

// Halide reads a stage of one number, stored in registers, from memory wherever it is used: it takes no load out of a loop, nor what is
// computed from it, such as the address of a row. A pass over a pipeline that makes variables of such stages, and then takes out of loops
// what does not change in them.
class KeptScalars : public Halide::Internal::IRMutator {
public:
    static void of(Halide::Pipeline pipeline) {
        pipeline.add_custom_lowering_pass(new KeptScalars);
        pipeline.add_custom_lowering_pass(new HoistAgain);
    }

protected:
    using Expr = Halide::Expr;
    using Stmt = Halide::Internal::Stmt;
    using Halide::Internal::IRMutator::visit;

    Stmt visit(const Halide::Internal::Allocate *op) override {
        constexpr int kFew = 4;
        const int size = op->constant_allocation_size();
        if (op->memory_type != Halide::MemoryType::Register || op->type != Halide::Int(32) || size < 1 || size > kFew) {
            return IRMutator::visit(op);
        }
        kept.insert(op->name);
        return mutate(op->body);
    }

    Stmt visit(const Halide::Internal::Block *op) override {
        std::vector<std::pair<std::string, Expr>> values;
        if (!add_values(op->first, values)) {
            return IRMutator::visit(op);
        }
        Stmt rest = mutate(op->rest);
        for (size_t i = values.size(); i-- > 0;) {
            rest = Halide::Internal::LetStmt::make(values[i].first, mutate(values[i].second), rest);
        }
        return rest;
    }

    Expr visit(const Halide::Internal::Load *op) override {
        return kept.count(op->name) != 0 ? Halide::Internal::Variable::make(op->type, variable(op->name, op->index))
                                         : IRMutator::visit(op);
    }

    Stmt visit(const Halide::Internal::Free *op) override {
        return kept.count(op->name) != 0 ? Halide::Internal::Evaluate::make(0) : IRMutator::visit(op);
    }

private:
    class HoistAgain : public Halide::Internal::IRMutator {
    public:
        Expr mutate(const Expr &e) override { return e; }
        Stmt mutate(const Stmt &s) override {
            return Halide::Internal::hoist_loop_invariant_values(Halide::Internal::simplify(s));
        }
    };

    static std::string variable(const std::string &name, const Expr &index) {
        return name + ".kept" + std::to_string(*Halide::Internal::as_const_int(index));
    }

    // What a statement gives kept stages, and the names that it uses for that, in order; false where it does anything else.
    bool add_values(const Stmt &s, std::vector<std::pair<std::string, Expr>> &values) const {
        using namespace Halide::Internal;
        if (const auto *part = s.as<ProducerConsumer>()) {
            return add_values(part->body, values);
        }
        if (const auto *block = s.as<Block>()) {
            return add_values(block->first, values) && add_values(block->rest, values);
        }
        if (const auto *let = s.as<LetStmt>()) {
            values.emplace_back(let->name, let->value);
            return add_values(let->body, values);
        }
        const auto *store = s.as<Store>();
        if (store == nullptr || kept.count(store->name) == 0) {
            return false;
        }
        values.emplace_back(variable(store->name, store->index), store->value);
        return true;
    }

    std::set<std::string> kept;  // names of stages
};

}  // namespace muattn
