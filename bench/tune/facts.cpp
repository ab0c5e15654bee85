// Prints, as JSON, the machine of every backend and the defaults of every schedule: {"machines": {backend: {fact: number}},
// "defaults": {generator: {backend: {name: number}}}}. The tables come from cmake/kernels.cmake and cmake/targets.cmake; a
// name that is no member of the schedule does not compile.
#include <iostream>
#include <nlohmann/json.hpp>

#include "schedule_headers.inc"

int main() {
    using namespace muattn::schedule;
    nlohmann::json facts;
#define MUATTN_PARAMETER(generator, Schedule, name, backend)                                \
    facts["machines"][#backend] = {{"lanes", machine(MachineName::backend).lanes},          \
                                   {"registers", machine(MachineName::backend).registers}}; \
    facts["defaults"][#generator][#backend][#name] = Schedule::defaults(machine(MachineName::backend)).name;
#include "parameter_table.inc"
    std::cout << facts << "\n";
}
