// Prints, as JSON, what the tuner has to know of the C++: {"defaults": {generator: {backend: {name: number}}}}, the numbers of every
// schedule that has some, in the order of its numbers(); {"structs": {struct: {field: offset, "sizeof": bytes}}} of muattn.h.
#include <cstddef>
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

Json structs() {
    Json result;
#define MUATTN_STRUCT(name) result[#name]["sizeof"] = sizeof(name);
#define MUATTN_FIELD(name, field) result[#name][#field] = offsetof(name, field);
    MUATTN_STRUCT(muattn_tensor)
    MUATTN_FIELD(muattn_tensor, data)
    MUATTN_FIELD(muattn_tensor, dtype)
    MUATTN_FIELD(muattn_tensor, device)
    MUATTN_FIELD(muattn_tensor, shape)
    MUATTN_FIELD(muattn_tensor, strides)
    MUATTN_FIELD(muattn_tensor, offset)
    MUATTN_STRUCT(muattn_window)
    MUATTN_FIELD(muattn_window, enabled)
    MUATTN_FIELD(muattn_window, left)
    MUATTN_FIELD(muattn_window, right)
    MUATTN_STRUCT(muattn_spatial_options)
    MUATTN_FIELD(muattn_spatial_options, scaling)
    MUATTN_FIELD(muattn_spatial_options, d_base)
    MUATTN_FIELD(muattn_spatial_options, scale)
    MUATTN_FIELD(muattn_spatial_options, scale_count)
    MUATTN_FIELD(muattn_spatial_options, causal)
    MUATTN_FIELD(muattn_spatial_options, causal_offset)
    MUATTN_FIELD(muattn_spatial_options, causal_offsets)
    MUATTN_FIELD(muattn_spatial_options, window)
    MUATTN_FIELD(muattn_spatial_options, key_lengths)
    MUATTN_FIELD(muattn_spatial_options, mask)
    MUATTN_FIELD(muattn_spatial_options, softcap)
    MUATTN_STRUCT(muattn_channel_options)
    MUATTN_FIELD(muattn_channel_options, scaling)
    MUATTN_FIELD(muattn_channel_options, d_base)
    MUATTN_FIELD(muattn_channel_options, scale)
    MUATTN_FIELD(muattn_channel_options, scale_count)
    MUATTN_FIELD(muattn_channel_options, output_multiplier)
    MUATTN_FIELD(muattn_channel_options, normalize)
    MUATTN_FIELD(muattn_channel_options, layout)
#undef MUATTN_FIELD
#undef MUATTN_STRUCT
    return result;
}

}  // namespace

int main() {
    Json facts;
#define MUATTN_GENERATOR(name) add_defaults<of::name>(facts["defaults"], #name);
#include "generators.inc"
#undef MUATTN_GENERATOR
    facts["structs"] = structs();
    std::cout << facts << "\n";
}
