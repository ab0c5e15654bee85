"""What the report knows of an instruction set: where a branch goes, what becomes of a value, what touches the stack.

Values are followed from place to place: "v3" is vector register 3, whatever its width, ("rsp", 32) a slot on the stack."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import NamedTuple

Place = str | tuple[str, int]


class Instruction(NamedTuple):
    address: int
    mnemonic: str
    operands: tuple[str, ...]

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {', '.join(self.operands)}"


class Kind(enum.Enum):
    MOVE = enum.auto()
    MULTIPLY_ADD = enum.auto()  # read: the addend
    MULTIPLY = enum.auto()
    ADD = enum.auto()  # read: both summands
    OTHER = enum.auto()


@dataclass(frozen=True)
class Effect:
    kind: Kind
    written: tuple[Place, ...] = ()
    read: tuple[Place | None, ...] = ()


NO_EFFECT = Effect(Kind.OTHER)


def split_operands(text: str) -> tuple[str, ...]:
    """At the commas that stand outside parentheses, brackets and braces."""
    return tuple(part.strip() for part in re.split(r",(?![^(]*\))(?![^\[]*\])(?![^{]*\})", text) if part.strip())


class Architecture:
    """What instruction sets share: a set says how it writes a branch, a vector register and a slot on the stack."""

    def target(self, i: Instruction) -> int | None:
        if self.branch.match(i.mnemonic) and i.operands and i.operands[-1].startswith("0x"):
            return int(i.operands[-1], 16)
        return None

    def touches_stack(self, i: Instruction, frame: tuple[str, ...]) -> bool:
        return any(self.slot(o, frame) for o in i.operands)

    def is_vector(self, i: Instruction) -> bool:
        return any(self.vector(o) for o in i.operands)


class X86(Architecture):
    """In AT&T syntax: what an instruction writes comes last."""

    stack_registers = ("rsp",)
    branch = re.compile(r"j[a-z]+$")
    unconditional = ("jmp", "jmpq", "ret", "retq", "ud2")
    comment = re.compile(r"\s+#.*$")
    move = re.compile(r"v?mov([au]p[sd]|dq[au](8|16|32|64)?)$")
    multiply_add = re.compile(r"vfn?madd(132|213|231)p[sd]$")
    multiply = re.compile(r"v?mulp[sd]$")
    add = re.compile(r"v?addp[sd]$")
    writes_no_register = re.compile(r"v?(u?comis[sd]|p?test(ps|pd)?)$")
    lane_load = re.compile(r"v?(pinsr[bwdq]|insertps|mov[lh]p[sd])$")

    def frame_registers(self, instructions: list[Instruction]) -> tuple[str, ...]:
        """A frame or base pointer, where the function sets one up; else rbp and rbx are registers like others."""
        copies = {i.operands[1][1:] for i in instructions if i.mnemonic == "movq" and i.operands[0] == "%rsp"}
        return self.stack_registers + tuple(sorted(copies & {"rbp", "rbx"}))

    def vector(self, operand: str) -> str | None:
        found = re.match(r"%[xyz]mm(\d+)", operand)
        return f"v{found[1]}" if found else None

    def width(self, i: Instruction) -> str:
        """Name of the vector length, for peak()."""
        return re.match(r"%([xyz])mm", i.operands[-1])[1]

    def slot(self, operand: str, frame: tuple[str, ...]) -> Place | None:
        found = re.match(r"(-?0x[0-9a-f]+)?\(%(\w+)\)", operand)
        return (found[2], int(found[1] or "0", 16)) if found and found[2] in frame else None

    def touches_stack(self, i: Instruction, frame: tuple[str, ...]) -> bool:
        return not i.mnemonic.startswith("lea") and super().touches_stack(i, frame)

    def is_gather(self, i: Instruction) -> bool:
        if re.match(r"vp?gather", i.mnemonic):
            return True
        return bool(self.lane_load.match(i.mnemonic)) and any("(" in o for o in i.operands[:-1])

    def effect(self, i: Instruction, frame: tuple[str, ...]) -> Effect:
        if i.mnemonic.startswith("call"):
            return Effect(Kind.OTHER, tuple(f"v{n}" for n in range(32)))
        if not i.operands or self.writes_no_register.match(i.mnemonic):
            return NO_EFFECT
        places = [self.vector(o) or self.slot(o, frame) for o in i.operands]
        if places[-1] is None:
            return NO_EFFECT
        if self.move.match(i.mnemonic) and len(places) == 2:
            return Effect(Kind.MOVE, (places[1],), (places[0],))
        if form := self.multiply_add.match(i.mnemonic):
            return Effect(Kind.MULTIPLY_ADD, (places[-1],), (places[{"231": 2, "213": 0, "132": 1}[form[1]]],))
        if self.add.match(i.mnemonic):
            return Effect(Kind.ADD, (places[-1],), tuple(places[-3:] if len(places) == 2 else places[:2]))
        return Effect(Kind.MULTIPLY if self.multiply.match(i.mnemonic) else Kind.OTHER, (places[-1],))

    def peak(self, fused: bool, width: str) -> tuple[str, ...]:
        """Independent multiply-adds that nothing but the arithmetic units limits; as many as hide the latency."""
        if fused:
            return tuple(f"vfmadd231ps %{width}mm14, %{width}mm15, %{width}mm{n}" for n in range(12))
        return tuple(line for n in range(8) for line in (f"mulps %xmm{n}, %xmm{n}", f"addps %xmm{n + 8}, %xmm{n + 8}"))


class Arm64(Architecture):
    """What an instruction writes comes first, but for stores."""

    stack_registers = ("sp",)
    branch = re.compile(r"(b(\.\w+)?|cbn?z|tbn?z)$")
    unconditional = ("b", "ret", "br")
    comment = re.compile(r"\s+//.*$")
    move = re.compile(r"(mov|ldu?r|stu?r|ldp|stp)$")
    multiply_add = re.compile(r"f(mla|nmls)$")
    multiply = re.compile(r"fmul$")
    add = re.compile(r"fadd$")

    def frame_registers(self, instructions: list[Instruction]) -> tuple[str, ...]:
        copies = {i.operands[0] for i in instructions if i.mnemonic in ("mov", "add") and i.operands[1] == "sp"}
        return self.stack_registers + tuple(sorted(copies & {"x29", "x19"}))

    def vector(self, operand: str) -> str | None:
        found = re.match(r"\{?\s*[vqz](\d+)\b", operand)
        return f"v{found[1]}" if found else None

    def width(self, i: Instruction) -> str:
        return i.operands[0][0]

    def slot(self, operand: str, frame: tuple[str, ...]) -> Place | None:
        found = re.match(r"\[(\w+)(?:, #(-?0x[0-9a-f]+))?\]$", operand)
        return (found[1], int(found[2] or "0", 16)) if found and found[1] in frame else None

    def is_gather(self, i: Instruction) -> bool:
        lane = i.mnemonic == "ld1" and re.search(r"\}\[\d+\]", i.operands[0])
        return bool(lane) or i.mnemonic.startswith("ld1") and bool(re.search(r"\bz\d+", i.operands[-1]))

    def effect(self, i: Instruction, frame: tuple[str, ...]) -> Effect:
        if i.mnemonic in ("bl", "blr"):
            return Effect(Kind.OTHER, tuple(f"v{n}" for n in range(32)))
        places = [self.vector(o) for o in i.operands]
        if not places or places[0] is None:
            return NO_EFFECT
        if self.move.match(i.mnemonic):
            slot = self.slot(i.operands[-1], frame)
            registers = tuple(p for o, p in zip(i.operands, places) if p and not o.startswith("["))
            memory = tuple((slot[0], slot[1] + 16 * n) if slot else None for n in range(len(registers)))
            if i.mnemonic == "mov":
                return Effect(Kind.MOVE, (places[0],), (places[1],)) if places[1] else Effect(Kind.OTHER, (places[0],))
            if i.mnemonic.startswith("st"):
                return Effect(Kind.MOVE, memory, registers) if slot else NO_EFFECT
            return Effect(Kind.MOVE, registers, memory)
        if i.mnemonic.startswith("st"):
            return NO_EFFECT
        if self.multiply_add.match(i.mnemonic):
            return Effect(Kind.MULTIPLY_ADD, (places[0],), (places[0],))
        if self.add.match(i.mnemonic):
            return Effect(Kind.ADD, (places[0],), tuple(places[-2:]))
        return Effect(Kind.MULTIPLY if self.multiply.match(i.mnemonic) else Kind.OTHER, (places[0],))

    def peak(self, fused: bool, width: str) -> tuple[str, ...]:
        if not fused:
            pairs = ((f"fmul v{n}.4s, v{n}.4s, v31.4s", f"fadd v{n + 12}.4s, v{n + 12}.4s, v31.4s") for n in range(12))
            return tuple(line for pair in pairs for line in pair)
        return tuple(f"fmla v{n}.4s, v30.4s, v31.4s" for n in range(24))
