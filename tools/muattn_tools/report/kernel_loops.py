"""What a loop does: its multiply-adds into accumulators, its traffic with the stack, its gathers.

A multiply-add is one FMA instruction, or an addition of a product that the loop itself computed. It counts if its
addend comes, perhaps through copies and stack slots, from the same sum of the iteration before: so the polynomial of an
exponential, all FMA, does not look like a matrix product, and a product whose accumulators were spilled still does."""

from __future__ import annotations

from dataclasses import dataclass, field

from muattn_tools.report.disassembly import Function
from muattn_tools.report.instructions import Instruction, Kind, Place


@dataclass
class Loop:
    function: str
    address: int
    body: list[Instruction]
    multiply_adds: int
    fused: bool
    width: str  # of its vectors, as the instruction set names it
    spills: int  # accesses to the stack with a vector register
    reloads: int  # the other accesses to the stack
    gathers: int
    cycles: dict[str, float] = field(default_factory=dict)  # per core: of an iteration
    peak_cycles: dict[str, float] = field(default_factory=dict)  # per core: what the multiply-adds alone would take

    @property
    def share(self) -> float:
        """Of all instructions, those that multiply-adds are made of."""
        return self.multiply_adds * (1 if self.fused else 2) / len(self.body)

    def of_peak(self, core: str) -> float:
        return self.peak_cycles[core] / self.cycles[core]


@dataclass
class Value:
    """What a place holds: which places' values of the iteration before went into the sum, through which multiply-adds."""

    origins: dict[Place, frozenset[int]] = field(default_factory=dict)
    is_product: bool = False


def accumulating(body: list[Instruction], architecture, frame: tuple[str, ...]) -> list[int]:
    """Indices of the multiply-adds into accumulators."""
    places: dict[Place, Value] = {}

    def value(place: Place | None) -> Value:
        return places.get(place) or Value({place: frozenset()}) if place else Value()

    for n, instruction in enumerate(body):
        effect = architecture.effect(instruction, frame)
        if effect.kind is Kind.MOVE:
            results = [value(place) for place in effect.read]
        elif effect.kind is Kind.MULTIPLY_ADD:
            results = [Value({o: through | {n} for o, through in value(effect.read[0]).origins.items()})]
        elif effect.kind is Kind.ADD:
            results = [add(n, *map(value, effect.read))]
        else:
            results = [Value(is_product=effect.kind is Kind.MULTIPLY) for _ in effect.written]
        for place, result in zip(effect.written, results):
            if place is not None:
                places[place] = result
    steps = [(o, place, through) for place, v in places.items() for o, through in v.origins.items()]
    following: dict[Place, set[Place]] = {}
    for origin, place, _ in steps:
        following.setdefault(origin, set()).add(place)
    counted: set[int] = set()
    for origin, place, through in steps:
        if through and leads_to(place, origin, following):
            counted |= through
    return sorted(counted)


def add(n: int, a: Value, b: Value) -> Value:
    """A sum of a carried value and a product is a multiply-add; any other sum carries nothing that would count."""
    if a.is_product == b.is_product:
        return Value()
    return Value({o: through | {n} for o, through in (b if a.is_product else a).origins.items()})


def leads_to(start: Place, end: Place, following: dict[Place, set[Place]]) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        place = waiting.pop()
        if place == end:
            return True
        for after in following.get(place, ()):
            if after not in seen:
                seen.add(after)
                waiting.append(after)
    return False


def stack_accesses(body: list[Instruction], architecture, frame: tuple[str, ...]) -> tuple[int, int]:
    """With a vector register, and without."""
    touching = [i for i in body if architecture.touches_stack(i, frame)]
    vector = sum(architecture.is_vector(i) for i in touching)
    return vector, len(touching) - vector


def describe(function: Function, body: list[Instruction], architecture, frame: tuple[str, ...]) -> Loop:
    counted = [body[n] for n in accumulating(body, architecture, frame)]
    fused = [architecture.effect(i, frame).kind is Kind.MULTIPLY_ADD for i in counted]
    spills, reloads = stack_accesses(body, architecture, frame)
    return Loop(
        function=function.name,
        address=body[0].address,
        body=body,
        multiply_adds=len(counted),
        fused=all(fused),
        width=architecture.width(counted[0]) if counted else "",
        spills=spills,
        reloads=reloads,
        gathers=sum(architecture.is_gather(i) for i in body),
    )
