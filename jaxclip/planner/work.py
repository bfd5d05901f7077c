"""What a compiled program does, read from its text: products, collectives, and how often each runs.

XLA's own cost analysis counts a loop's body once, and a scanned model is a loop. Here every computation is counted as
often as the entry reaches it.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from jaxclip.planner.hlo_text import Computation, Instruction, Shape, n_bytes, parse, shapes_in

COLLECTIVES = (
    "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "ragged-all-to-all", "collective-permute",
    "collective-broadcast",
)  # fmt: skip


@dataclass(frozen=True)
class Collective:
    """Something that crosses devices.

    Attributes:
      kind: its name in HLO.
      bytes: that one device sends or receives at a time, whichever is more.
      times: how often a run of the program does it.
      devices: that take part together.
      source: the operation of the program it was made for.
    """

    kind: str
    bytes: int
    times: int
    devices: int
    source: str


@dataclass(frozen=True)
class Work:
    """One device's part of a program.

    Attributes:
      flops: of matrix products and convolutions, two for each multiply-add, in any precision.
      collectives: the largest first; equal ones are counted together.
      loops: how many loops run an unknown number of times; their bodies are counted once.
    """

    flops: float
    collectives: tuple[Collective, ...]
    loops: int


def work(text: str) -> Work:
    """Count the work of a compiled module, from `compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations, entry = parse(text)
    times, loops = _times(computations, entry)
    flops, found = 0.0, Counter()
    for name, often in times.items():
        computation = computations[name]
        for instruction in computation.instructions:
            flops += often * _flops(computation, instruction)
            if (kind := instruction.opcode.removesuffix("-start")) in COLLECTIVES:
                moved = _moved(computation, instruction)
                found[kind, moved, _group(instruction.rest), _source(instruction.rest)] += often
    collectives = [Collective(kind, moved, n, devices, source) for (kind, moved, devices, source), n in found.items()]
    return Work(flops, tuple(sorted(collectives, key=lambda one: -one.bytes * one.times)), loops)


def _times(computations: dict[str, Computation], entry: str) -> tuple[Counter, int]:
    """Count how often each computation runs. Callees come before their callers, so the text backwards is an order."""
    times, loops = Counter({entry: 1}), 0
    for name in reversed(computations):
        if not times[name]:
            continue
        for instruction in computations[name].instructions:
            often = 1
            if instruction.opcode == "while":
                known = _trips(computations, computations[name], instruction)
                often, loops = (1, loops + 1) if known is None else (known, loops)
            for callee in _callees(instruction):
                times[callee] += often * times[name]
    return times, loops


def _callees(instruction: Instruction) -> Iterator[str]:
    """List computations that hold products or collectives, not the little ones that reduce or compare two numbers."""
    match instruction.opcode:
        case "while":
            yield from re.findall(r"\b(?:body|condition)=%?([\w.\-]+)", instruction.rest)
        case "fusion" | "async-start":
            yield from re.findall(r"\bcalls=%?([\w.\-]+)", instruction.rest)
        case "call":
            yield from re.findall(r"\bto_apply=%?([\w.\-]+)", instruction.rest)
        case "conditional":
            yield from re.findall(r"\b(?:true|false)_computation=%?([\w.\-]+)", instruction.rest)
            for names in re.findall(r"\bbranch_computations=\{([^}]*)\}", instruction.rest):
                yield from re.findall(r"[\w.\-]+", names)


def _trips(computations: dict[str, Computation], caller: Computation, loop: Instruction) -> int | None:
    if known := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.rest):
        return int(known[1])
    # Compilers that do not say it leave the counter of a scan: begin at a constant, add one, compare with a constant.
    condition = computations[_said(r"condition=%?([\w.\-]+)", loop)]
    body = computations[_said(r"body=%?([\w.\-]+)", loop)]
    root = condition.root
    if root is None or root.opcode != "compare" or "direction=LT" not in root.rest:
        return None
    counter, limit = (condition.origin(name) for name in root.operands)
    place = _index(counter)
    end = None if limit is None else limit.constant
    if place is None or end is None or body.root is None:
        return None
    begin, added = _element(caller, loop.operands[0], place), _element(body, body.root.name, place)
    if begin is None or begin.constant is None or added is None or added.opcode != "add":
        return None
    parts = [body.origin(name) for name in added.operands]
    steps = [part.constant for part in parts if part is not None and part.constant is not None]
    steps += [_carried(caller, loop, part) for part in parts if part is not None and _index(part) not in (None, place)]
    if len(steps) != 1 or not steps[0]:
        return None
    return max(0, -(-(end - begin.constant) // steps[0]))


def _said(pattern: str, instruction: Instruction) -> str:
    """Read what an instruction says by a pattern of one group.

    Raises:
      ValueError: it does not say it.
    """
    found = re.search(pattern, instruction.rest)
    if found is None:
        raise ValueError(f"{instruction.name} does not say {pattern}: {instruction.rest[:80]}")
    return found[1]


def _carried(caller: Computation, loop: Instruction, part: Instruction) -> int | None:
    """Follow a constant that a loop carries through to where it was made."""
    place = _index(part)
    origin = None if place is None else _element(caller, loop.operands[0], place)
    return None if origin is None else origin.constant


def _index(instruction: Instruction | None) -> int | None:
    if instruction is None or instruction.opcode != "get-tuple-element":
        return None
    return int(_said(r"index=(\d+)", instruction))


def _element(computation: Computation, name: str, place: int) -> Instruction | None:
    """Find the value at one place of a tuple."""
    made = computation.origin(name)
    if made is None or made.opcode != "tuple" or place >= len(made.operands):
        return None
    return computation.origin(made.operands[place])


def _flops(computation: Computation, instruction: Instruction) -> float:
    if instruction.opcode == "dot":
        left = computation.shapes(instruction.operands[0])[0]
        contracted = _numbers(r"lhs_contracting_dims=\{([\d,]*)\}", instruction.rest)
        return 2.0 * prod(shapes_in(instruction.type)[0].dims) * prod(left.dims[axis] for axis in contracted)
    if instruction.opcode == "convolution":
        left, right = (computation.shapes(name)[0] for name in instruction.operands[:2])
        return _convolution(left, right, shapes_in(instruction.type)[0], instruction.rest)
    return 0.0


def _convolution(left: Shape, right: Shape, out: Shape, rest: str) -> float:
    """Count products, holes and padding left out: a TPU writes batched matrix products as convolutions full of both."""
    labels = re.search(r"dim_labels=([\w?]+)_([\w?]+)->([\w?]+)", rest)
    if labels is None:
        raise ValueError(f"a convolution must say its dim_labels; got {rest[:80]}")
    from_, kernel, to = (dict(zip(label, shape.dims, strict=True)) for label, shape in
                         zip(labels.groups(), (left, right, out), strict=True))  # fmt: skip
    spatial = sorted(letter for letter in from_ if letter.isdigit())
    window = re.search(r"window=\{([^}]*)\}", rest)
    fields = dict(part.split("=") for part in window[1].split()) if window else {}

    def field(name: str, axis: int, otherwise: str) -> str:
        return fields[name].split("x")[axis] if name in fields else otherwise

    valid = 1
    for axis, letter in enumerate(spatial):
        stride, holes, reach = (int(field(name, axis, "1")) for name in ("stride", "lhs_dilate", "rhs_dilate"))
        low = int(field("pad", axis, "0_0").split("_")[0])
        count = 0
        for tap in range(kernel[letter]):
            for place in range(to[letter]):
                at = place * stride - low + tap * reach
                count += at % holes == 0 and 0 <= at // holes < from_[letter]
        valid *= count
    groups, batches = (int(match[1]) if (match := re.search(rf"\b{name}_group_count=(\d+)", rest)) else 1
                       for name in ("feature", "batch"))  # fmt: skip
    return 2.0 * (from_["f"] // groups) * to["f"] * (from_["b"] // batches) * valid


def _moved(computation: Computation, instruction: Instruction) -> int:
    sent = sum(n_bytes(shape) for name in instruction.operands for shape in computation.shapes(name))
    received = sum(n_bytes(shape) for shape in shapes_in(instruction.type))
    # What an asynchronous gather starts is a pair: what was sent and what will be there.
    if instruction.opcode.endswith("-start") and instruction.opcode != "all-reduce-start":
        received = received - sent if instruction.opcode == "all-gather-start" else 0
    return max(sent, received)


def _group(rest: str) -> int:
    """Count the devices of one group, in any of HLO's three ways to write them."""
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'?([\w.\-]+)'?=(\d+)", mesh[1]))
        return prod(int(sizes[axis]) for axis in re.findall(r"[\w.\-]+", mesh[2]) if axis in sizes)
    if tiled := re.search(r"replica_groups=\[\d+,(\d+)\]", rest):
        return int(tiled[1])
    listed = re.search(r"replica_groups=\{\{([\d,]*)\}", rest)
    return len(listed[1].split(",")) if listed else 0


def _source(rest: str) -> str:
    name = re.search(r'op_name="((?:[^"\\]|\\.)*)"', rest)
    return json.loads(f'"{name[1]}"') if name else ""


def _numbers(pattern: str, text: str) -> list[int]:
    found = re.search(pattern, text)
    return [int(number) for number in found[1].split(",") if number] if found else []
