// What a kernel can do beyond its algorithm, as far as generators and the runtime both have to know it: values of axes of
// tables/kernels.json. No Halide here.
#pragma once

#include <cstdint>

namespace muattn {

enum class Mask : uint8_t {
    none,
    additive,
    boolean,
    any,  // additive, boolean or none
};

enum class Softcap : uint8_t {
    never,
    always,
    optional,  // softcap 0 is none
};

// Of channel attention's arrays.
enum class Layout : uint8_t {
    channels_last,
    channels_first,
};

}  // namespace muattn
