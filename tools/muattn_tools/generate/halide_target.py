"""Halide's target strings: what is wrong with one, and how the build names its parts. Features need Halide; the rest is found without."""

from __future__ import annotations

import re
from dataclasses import dataclass

from muattn_tools.tables import nearest_rung

try:
    import halide
except ImportError:  # ./dev asks before it has a .venv
    halide = None

# A test compares these with Halide's.
ARCHITECTURES = ("arm", "hexagon", "powerpc", "riscv", "wasm", "x86")
SYSTEMS = ("android", "fuchsia", "ios", "linux", "noos", "osx", "qurt", "wasmrt", "windows")
# What compilers call them.
MACHINES = {"x86_64": "x86-64", "amd64": "x86-64", "x64": "x86-64", "i386": "x86-32", "i686": "x86-32", "aarch64": "arm-64",
            "arm64": "arm-64", "armv7": "arm-32", "armv7l": "arm-32", "armhf": "arm-32", "riscv64": "riscv-64",
            "wasm32": "wasm-32", "ppc64le": "powerpc-64", "powerpc64le": "powerpc-64"}  # fmt: skip
OTHER_SYSTEMS = {"darwin": "osx", "macos": "osx", "apple": "osx", "mingw32": "windows", "win32": "windows", "wasi": "wasmrt"}

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
    parts = text.split("-")
    arch = parts[0]
    if arch not in ARCHITECTURES:
        raise TargetError(f"'{text}': no architecture '{arch}'; {did_you_mean(parts) or 'there are ' + ', '.join(ARCHITECTURES)}")
    if len(parts) < 3 or parts[1] not in ("32", "64"):
        raise TargetError(f"'{text}': say architecture, bits and operating system, e.g. {arch}-64-linux")
    if parts[2] not in SYSTEMS:
        raise TargetError(f"'{text}': no operating system '{parts[2]}'; there are {', '.join(SYSTEMS)}")
    target = Target(arch, parts[1], parts[2], tuple(parts[3:]))
    if halide:
        check_features(text, target)
    check_vectors(target)
    check_device(target)
    return target


def did_you_mean(parts: list[str]) -> str | None:
    """For the triple of a compiler."""
    if parts[0] not in MACHINES:
        return None
    systems = [OTHER_SYSTEMS.get(part, part) for part in parts[1:]]
    return f"did you mean {MACHINES[parts[0]]}-{next((system for system in systems if system in SYSTEMS), 'linux')}?"


def check_features(text: str, target: Target) -> None:
    valid = valid_features(target.arch, halide_names()["features"])
    for feature in target.features:
        known = "vector_bits_N" if re.fullmatch(r"vector_bits_\d+", feature) else feature
        if known not in valid and not feature.startswith("tune_"):
            raise TargetError(f"'{text}': no feature '{feature}' for {target.arch}; there are {', '.join(valid)}")
    if not halide.Target.validate_target_string(text):
        raise TargetError(f"'{text}': Halide does not take it")


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
    # Of the lengths in tables/machines.json those that are right: docs/targets.md.
    for feature, lengths in (("sve", ("128",)), ("sve2", ("128",)), ("rvv", ("128", "256"))):
        if feature in target.features and bits[0] not in lengths:
            raise TargetError(f"'{target}': kernels for {feature} are for vectors of {' or '.join(lengths)} bits")
    if "avx512" in target.features and not any(feature.startswith("avx512_") for feature in target.features):
        rung = nearest_rung(target.triple, [*target.features, "avx512_skylake"])
        raise TargetError(f"'{target}': LLVM cannot compile the kernels for avx512 alone" + (f"; {rung}" if rung else ""))
