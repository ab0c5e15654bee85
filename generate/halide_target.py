"""Halide's target strings: what is wrong with one, and how the build names its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass

import halide

# The build sets these itself, or they need a build of another kind.
NOT_HERE = {"jit", "no_runtime", "user_context", "no_asserts", "no_bounds_query", "c_plus_plus_name_mangling",
            "embed_bitcode", "profile", "profile_by_timer", "asan", "msan", "tsan"}  # fmt: skip
# GPUs that there are kernels for, and no backend of the library; the systems for which Halide's build makes host code for them.
DEVICES = {"metal": ("osx", "ios"), "webgpu": ("wasmrt",)}
# Families of features by architecture: what else a list of valid ones would be too long to read.
PREFIXES = {
    "x86": ("avx", "sse", "f16c", "fma", "x86"),
    "arm": ("arm", "no_neon", "sve", "vector_bits"),
    "riscv": ("rvv", "vector_bits"),
    "wasm": ("wasm",),
    "powerpc": ("vsx", "power"),
    "hexagon": ("hvx", "hexagon"),
}


class TargetError(Exception):
    pass


@dataclass(frozen=True)
class Target:
    arch: str
    bits: str
    os: str
    features: tuple[str, ...]

    @property
    def triple(self) -> str:
        return f"{self.arch}-{self.bits}-{self.os}"

    @property
    def device(self) -> str | None:
        return next((feature for feature in self.features if feature in DEVICES), None)

    def __str__(self) -> str:
        return "-".join((self.triple, *self.features))


def halide_names() -> dict[str, list[str]]:
    """The names that Halide knows, as its message about a target that it does not know lists them."""
    try:
        halide.Target("?")
    except halide.HalideError as error:
        message = str(error)
    found = {}
    for key, pattern in {"arch": r"Where arch is: (.*?)\.", "os": r"os is: (.*?)\.", "features": r"Features are: (.*?)\.\n"}.items():
        names = re.split(r"[,\s]+", re.search(pattern, message, re.S)[1].strip())
        found[key] = [name for name in names if not name.endswith("_unknown")]
    return found


def valid_features(arch: str, names: list[str]) -> list[str]:
    prefixes = PREFIXES.get(arch, ())
    features = [name for name in names if name.startswith(prefixes) and name not in NOT_HERE]
    return features + (["vector_bits_N"] if "vector_bits" in prefixes else []) + list(DEVICES)


def parse(text: str) -> Target:
    """A target with its architecture, bits and operating system, as far as this build can make libraries for it."""
    names = halide_names()
    parts = text.split("-")
    arch = parts[0]
    if arch not in names["arch"]:
        raise TargetError(f"'{text}': no architecture '{arch}'; there are {', '.join(names['arch'])}")
    if len(parts) < 3 or parts[1] not in ("32", "64"):
        raise TargetError(f"'{text}': say architecture, bits and operating system, e.g. {arch}-64-linux")
    if parts[2] not in names["os"]:
        raise TargetError(f"'{text}': no operating system '{parts[2]}'; there are {', '.join(names['os'])}")
    valid = valid_features(arch, names["features"])
    for feature in parts[3:]:
        known = "vector_bits_N" if re.fullmatch(r"vector_bits_\d+", feature) else feature
        if known not in valid and not feature.startswith("tune_"):
            raise TargetError(f"'{text}': no feature '{feature}' for {arch}; there are {', '.join(valid)}")
    if not halide.Target.validate_target_string(text):
        raise TargetError(f"'{text}': Halide does not take it")
    target = Target(arch, parts[1], parts[2], tuple(parts[3:]))
    check_vectors(target)
    check_device(target)
    return target


def check_device(target: Target) -> None:
    devices = [feature for feature in target.features if feature in DEVICES]
    if len(devices) > 1:
        raise TargetError(f"'{target}': one of {', '.join(devices)} at a time")
    if devices and target.os not in DEVICES[devices[0]]:
        raise TargetError(f"'{target}': {devices[0]} is for {' and '.join(DEVICES[devices[0]])} alone")


def check_vectors(target: Target) -> None:
    """Code for vectors of a length that the machine chooses has to be told which."""
    bits = [f.removeprefix("vector_bits_") for f in target.features if f.startswith("vector_bits_")]
    scalable = {"sve", "sve2", "rvv"} & set(target.features)
    if scalable and not bits:
        raise TargetError(f"'{target}': {scalable.pop()} needs vector_bits_N, e.g. vector_bits_128")
    if bits and not scalable:
        raise TargetError(f"'{target}': vector_bits_{bits[0]} is for sve2 and rvv alone")
    # What is right of schedules/machine.h: docs/targets.md.
    for feature, lengths in (("sve", ("128",)), ("sve2", ("128",)), ("rvv", ("128", "256"))):
        if feature in target.features and bits[0] not in lengths:
            raise TargetError(f"'{target}': kernels for {feature} are for vectors of {' or '.join(lengths)} bits")
