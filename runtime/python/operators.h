// One function per operator: adds its calls to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace muattn::python {

void add_spatial(nanobind::module_ m);
void add_channel(nanobind::module_ m);

}  // namespace muattn::python
