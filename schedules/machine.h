// What a schedule may know about the machine it is written for. No Halide here: the runtime
// reads the same facts to size the scratch memory that the compiled kernels will ask for.
#pragma once

namespace muattn::schedule {

struct Machine {
    int lanes;      // float32 lanes of one vector register
    int registers;  // vector registers
    bool fma;       // multiply and add in one instruction

    constexpr bool operator==(const Machine &o) const {
        return lanes == o.lanes && registers == o.registers && fma == o.fma;
    }
};

enum class MachineName { sse41,
                         avx2,
                         avx512 };

constexpr Machine machine(MachineName name) {
    switch (name) {
    case MachineName::sse41: return {4, 16, false};
    case MachineName::avx2: return {8, 16, true};
    case MachineName::avx512: return {16, 32, true};
    }
    return {4, 16, false};
}

}  // namespace muattn::schedule
