// The machines of tables/machines.json as values of a GeneratorParam.
#pragma once
#include <map>
#include <string>

#include "schedules/common/machine.h"

namespace muattn {

inline const std::map<std::string, schedule::MachineName> &machine_names() {
    static const std::map<std::string, schedule::MachineName> names{
#define MUATTN_MACHINE(name, ...) {#name, schedule::MachineName::name},
#include "machines.inc"
#undef MUATTN_MACHINE
    };
    return names;
}

}  // namespace muattn
