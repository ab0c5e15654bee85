// Prints, as JSON, what the tuner has to know of the C++: {"defaults": {generator: {backend: {name: number}}}}, the numbers of every
// schedule that has some, in the order of its numbers(); {"structs": {struct: bytes}} of muattn.h.
#include <iostream>
#include <nlohmann/json.hpp>

#include "muattn/muattn.h"
#include "schedules/all_numbers.h"

namespace {

using Json = nlohmann::ordered_json;
using namespace muattn::schedule;

template<typename Schedule>
Json defaults(MachineName name) {
    const Schedule schedule = Schedule::defaults(machine(name));
    Json result;
    for (const auto &number : Schedule::numbers()) {
        result[number.name] = schedule.*number.member;
    }
    return result;
}

template<typename Schedule>
void add_defaults(Json &facts, const char *generator) {
    if constexpr (Schedule::numbers().size() > 0) {
#define MUATTN_BACKEND(name, condition) facts[generator][#name] = defaults<Schedule>(MachineName::name);
#include "backend_table.inc"
#undef MUATTN_BACKEND
    }
}

}  // namespace

int main() {
    Json facts;
#define MUATTN_GENERATOR(name) add_defaults<of::name>(facts["defaults"], #name);
#include "generators.inc"
#undef MUATTN_GENERATOR
#define MUATTN_STRUCT(name) facts["structs"][#name] = sizeof(name);
    MUATTN_STRUCT(muattn_tensor)
    MUATTN_STRUCT(muattn_window)
    MUATTN_STRUCT(muattn_spatial_options)
    MUATTN_STRUCT(muattn_channel_options)
    MUATTN_STRUCT(muattn_spatial_gradients)
    MUATTN_STRUCT(muattn_channel_gradients)
#undef MUATTN_STRUCT
    std::cout << facts << "\n";
}
