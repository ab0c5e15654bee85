"""Which kernels a call runs. The library names one of them, muattn_last_kernel()."""

from __future__ import annotations

from muattn_tools.tune.build import Build, Kernel

# A call that is made of several kernels (runtime/src/channel_attention/parts.cpp), by operation and direction of the named one: their
# algorithms. All kernels of these that have the layout, or none, count as run: which of them it is may depend on the numbers.
PARTS = {
    ("channel_attention", "backward"): {"{layout}_map", "{layout}_product", "squares", "softmax", "transpose", "gradient"},
}


def kernels_of_call(build: Build, name: str, layout: str | None) -> set[Kernel]:
    """name: of the kernel that the library names."""
    named = build.kernel_of(name)
    parts = {part.format(layout=layout) for part in PARTS.get((named.operation, named.direction), [])}
    found = {k for k in build.kernels_for(named.backend) if k.operation == named.operation and k.algorithm in parts}
    return found or {named}
