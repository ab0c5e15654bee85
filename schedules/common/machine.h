// What a schedule may know about the machine it is written for, from tables/machines.json. No Halide here: the runtime reads the same
// facts to size the scratch memory that the compiled kernels will ask for.
#pragma once

namespace muattn::schedule {

struct Machine {
    int lanes;      // float32 lanes of one vector register; 1 on a GPU, where a thread is a lane
    int registers;  // vector registers
    // Vectors as long as the machine likes. Halide 21's code for them is wrong where it loads every 2nd to 4th float, so blocks
    // to be transposed have longer rows, and where it gathers at negative offsets, so the runtime keeps those away.
    bool scalable = false;
    int shared_bytes = 0;             // memory that the threads of a block may share on a GPU
    bool has_mask_registers = false;  // a mask takes no vector register

    constexpr bool few_registers() const { return registers < 16; }
};

enum class MachineName {
#define MUATTN_MACHINE(name, ...) name,
#include "machines.inc"
#undef MUATTN_MACHINE
};

constexpr Machine machine(MachineName name) {
    constexpr Machine machines[] = {
#define MUATTN_MACHINE(name, lanes, registers, scalable, shared_bytes, has_mask_registers) \
    {lanes, registers, scalable, shared_bytes, has_mask_registers},
#include "machines.inc"
#undef MUATTN_MACHINE
    };
    return machines[int(name)];
}

}  // namespace muattn::schedule
