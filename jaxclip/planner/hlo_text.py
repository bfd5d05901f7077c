"""HLO's text as computations of instructions; as much of the grammar as it takes to count."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from typing import NamedTuple


class Shape(NamedTuple):
    """One array's type."""

    dtype: str
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Instruction:
    """`name = type opcode(operands), rest`, with operands' names alone and a constant's value in `literal`."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    literal: str
    rest: str

    @property
    def constant(self) -> int | None:
        """Its value, if it is a constant whole number."""
        return int(self.literal) if self.opcode == "constant" and re.fullmatch(r"-?\d+", self.literal) else None


@dataclass
class Computation:
    """A list of instructions; the root is what it returns."""

    instructions: list[Instruction] = field(default_factory=list)
    root: Instruction | None = None

    @cached_property
    def _by_name(self) -> dict[str, Instruction]:
        return {instruction.name: instruction for instruction in self.instructions}

    def shapes(self, name: str) -> list[Shape]:
        """List the arrays that a name refers to: one, or those of a tuple."""
        return shapes_in(self._by_name[name].type)

    def origin(self, name: str) -> Instruction | None:
        """Find what a name is a copy of."""
        found = self._by_name.get(name)
        while found is not None and found.opcode in _COPIES:
            found = self._by_name.get(found.operands[0])
        return found


_COPIES = ("copy", "bitcast", "convert", "reshape", "copy-start", "copy-done")
_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+)(?: \(.*)? .*\{$|^(ENTRY )?%?([\w.\-]+) \{$")
_NAME = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = ")
_SHAPE = re.compile(r"\b([a-z]\w*)\[([\d,<=]*)\]")


def parse(text: str) -> tuple[dict[str, Computation], str]:
    """Read the computations by name in the text's order, and the name of the one a run begins with.

    Raises:
      ValueError: there is no such computation.
    """
    computations: dict[str, Computation] = {}
    current, entry = None, None
    for line in text.splitlines():
        if line and not line[0].isspace():
            head = _HEAD.match(line)
            if head and not line.startswith("HloModule"):
                name = head[2] or head[4]
                current = computations[name] = Computation()
                entry = name if head[1] or head[3] else entry
            continue
        if current is not None and (named := _NAME.match(line)):
            instruction = _instruction(named[2], line[named.end() :])
            current.instructions.append(instruction)
            if named[1]:
                current.root = instruction
    if entry is None:
        raise ValueError("this is no HLO module: it has no ENTRY computation; pass compiled.as_text().")
    return computations, entry


def shapes_in(type_: str) -> list[Shape]:
    """List every array of a type, layouts left out."""
    found = _SHAPE.findall(re.sub(r"\{[^}]*\}|/\*.*?\*/", "", type_))
    return [Shape(dtype, tuple(int(n.lstrip("<=")) for n in dims.split(",") if n)) for dtype, dims in found]


def n_bytes(shape: Shape) -> int:
    """Count the bytes of the values, without padding."""
    if shape.dtype in ("pred", "token", "opaque"):
        return prod(shape.dims) if shape.dtype == "pred" else 0
    bits = int(re.sub(r"^[a-z]+(\d+).*", r"\1", shape.dtype))
    return -(-prod(shape.dims) * bits // 8)


def _instruction(name: str, text: str) -> Instruction:
    end = _closing(text, 0) + 1 if text.startswith("(") else text.index(" ")
    type_, text = text[:end], text[end:].lstrip()
    opening = text.index("(")
    closing = _closing(text, opening)
    inside = text[opening + 1 : closing]
    operands = tuple(re.findall(r"%([\w.\-]+)", inside))
    return Instruction(name, type_, text[:opening], operands, inside, text[closing + 1 :])


def _closing(text: str, opening: int) -> int:
    depth = 0
    for place in range(opening, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"an instruction's parentheses do not close: {text[:80]}")
