"""Which tensor becomes which parameter, by tables; each family's are in its file in `formats/`.

A rule is (source name, target path, pattern). The pattern's left side is the source's axes, its right side the
parameter's axes in the letters of `jaxclip.model.params` without the layer axis, so every rule can be run both ways and
its shapes are known before any tensor is read.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from math import prod

import numpy as np
from einops import rearrange


@dataclass(frozen=True)
class Rule:
    """A tensor's way into a parameter; `part` is its index in one that it fills in part, after the layer's."""

    source: str
    target: str
    pattern: str
    part: tuple[int | slice, ...] = ()


@dataclass(frozen=True)
class Move:
    """A rule applied to one layer: the tensor `source`, of shape `shape`, fills `target[index]`."""

    source: str
    target: str
    index: tuple[int | slice, ...]
    pattern: str
    shape: tuple[int, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class TowerRules:
    """Rules of one tower: for what it has once, and for what each block has.

    Attributes:
      once: rules of the tensors beside the blocks.
      blocks: how names of blocks begin, before the layer's number.
      block: rules of one block.
      prefix: how all names of the tower begin.
    """

    once: tuple[Rule, ...]
    blocks: str
    block: tuple[Rule, ...]
    prefix: str = ""

    def source_of(self, target: str) -> str:
        """Name the tensor that a parameter beside the blocks comes from."""
        return next(self.prefix + rule.source for rule in self.once if rule.target == target)


def norm(source: str, target: str) -> tuple[Rule, ...]:
    """Make the rules of a LayerNorm."""
    return Rule(f"{source}.weight", f"{target}.scale", "w -> w"), Rule(f"{source}.bias", f"{target}.bias", "w -> w")


def dense(source: str, target: str, out_in: str, kernel: str, bias: str) -> tuple[Rule, ...]:
    """Make the rules of a linear layer whose weight PyTorch stores as (out, in)."""
    return (
        Rule(f"{source}.weight", f"{target}.kernel", f"{out_in} -> {kernel}"),
        Rule(f"{source}.bias", f"{target}.bias", f"{bias} -> {bias}"),
    )


PATCHES = "w rgb ph pw -> (ph pw rgb) w"
"""The pattern of a patch convolution's weight."""
SCALES = (Rule("logit_scale", "logit_scale", "->"), Rule("logit_bias", "logit_bias", "->"))


def tower_moves(rules: TowerRules, tower: str, leaves: Collection[str], sizes: dict[str, int]) -> list[Move]:
    """Write a tower's rules out for every layer; rules of parameters that the tower does not have are left out.

    Args:
      tower: "vision" or "text", with which parameters' paths begin.
      leaves: paths of the tower's parameters, as of `vision_leaves`.
      sizes: of every axis letter.
    """
    once = [_move(rule, rules.prefix, f"{tower}.", sizes) for rule in rules.once if rule.target in leaves]
    block = [rule for rule in rules.block if f"blocks.{rule.target}" in leaves]
    layers = range(sizes["l"])
    blocks = f"{rules.prefix}{rules.blocks}"
    return once + [_move(rule, f"{blocks}.{n}.", f"{tower}.blocks.", sizes, n) for n in layers for rule in block]


def scale_moves(names: set[str]) -> list[Move]:
    """List the moves of the two numbers that scores are made with; the bias only where there is one."""
    return [_move(rule, "", "", {}) for rule in SCALES if rule.source == "logit_scale" or rule.source in names]


def _move(rule: Rule, prefix: str, tower: str, sizes: dict[str, int], layer: int | None = None) -> Move:
    left = rule.pattern.split("->")[0]
    used = {letter: sizes[letter] for letter in re.findall(r"\w+", rule.pattern)}
    return Move(
        source=prefix + rule.source,
        target=tower + rule.target,
        index=rule.part if layer is None else (layer, *rule.part),
        pattern=rule.pattern,
        shape=side_shape(left, sizes),
        sizes=used,
    )


def forward(move: Move, array: np.ndarray) -> np.ndarray:
    """Turn a source tensor into the part of the parameter that it fills."""
    old, new = move.pattern.split("->")
    return _rearrange(array.reshape(move.shape), old, new, move.sizes)


def backward(move: Move, part: np.ndarray) -> np.ndarray:
    """Invert `forward`: `backward(move, forward(move, x)) == x`."""
    old, new = move.pattern.split("->")
    return _rearrange(part, new, old, move.sizes)


def _rearrange(array: np.ndarray, old: str, new: str, sizes: dict[str, int]) -> np.ndarray:
    named = set(re.findall(r"\w+", old))
    return rearrange(array, f"{old} -> {new}", **{letter: size for letter, size in sizes.items() if letter in named})


def side_shape(side: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """Compute the shape of one side of a pattern: `(qkv h c) w` is `(3 * heads * head_dim, width)`."""
    groups = re.findall(r"\(([^)]*)\)|(\w+)", side)
    return tuple(prod(sizes[letter] for letter in (group or single).split()) for group, single in groups)
