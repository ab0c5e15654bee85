// The machines of schedules/machine.h as values of a GeneratorParam.
#pragma once
#include <map>
#include <string>

#include "schedules/machine.h"

namespace muattn {

inline const std::map<std::string, schedule::MachineName> &machine_names() {
    static const std::map<std::string, schedule::MachineName> names{
        {"sse41", schedule::MachineName::sse41},   {"avx2", schedule::MachineName::avx2},
        {"avx512", schedule::MachineName::avx512}, {"cuda", schedule::MachineName::cuda},
        {"opencl", schedule::MachineName::opencl}, {"vulkan", schedule::MachineName::vulkan},
        {"metal", schedule::MachineName::metal},   {"webgpu", schedule::MachineName::webgpu}};
    return names;
}

}  // namespace muattn
