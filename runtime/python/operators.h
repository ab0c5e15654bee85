// One function per operator, and one for what several processes ask: adds its calls to the module.
#pragma once

#include <nanobind/nanobind.h>

namespace muattn::python {

void add_spatial(nanobind::module_ m);
void add_channel(nanobind::module_ m);
void add_distributed(nanobind::module_ m);

}  // namespace muattn::python
