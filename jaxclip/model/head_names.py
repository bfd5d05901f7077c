"""Heads as people write them: "5.2" is head 2 of layer 5, and "5" all heads of layer 5, both counted from 0."""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool

NAME = re.compile(r"(\d+)(?:\.(\d+))?", re.ASCII)


def head_name(layer: int | np.integer, head: int | np.integer) -> str:
    """Write a head as "layer.head"."""
    return f"{layer}.{head}"


def parse_name(name: str) -> tuple[int, int | None]:
    """Read "layer.head", or "layer", whose head is then None.

    Raises:
      ValueError: the name is neither.
    """
    found = NAME.fullmatch(name)
    if found is None:
        raise ValueError(f'heads are named "layer.head" or "layer", counted from 0; got {name!r}.')
    return int(found[1]), None if found[2] is None else int(found[2])


def parse_heads(words: str) -> tuple[tuple[int, int], ...]:
    """Read single heads with commas between them: "5.2,5.3" is ((5, 2), (5, 3)).

    Raises:
      ValueError: anything else.
    """
    heads = []
    for part in (part.strip() for part in words.split(",")):
        found = NAME.fullmatch(part)
        if found is None or found[2] is None:
            raise ValueError(f"heads are given as layer.head, several with commas, such as 5.2,5.3; got {part!r}.")
        heads.append((int(found[1]), int(found[2])))
    return tuple(heads)


def chosen_heads(names: Sequence[str], n_layers: int, n_heads: int) -> Bool[np.ndarray, "layer head"]:
    """Mark the heads of a model that are named, each as "layer.head" or "layer".

    Raises:
      ValueError: no names, a name that is no such pair, or a layer or head that the model lacks.
    """
    if not names:
        raise ValueError('name at least one head, as "layer.head" or "layer".')
    chosen = np.zeros((n_layers, n_heads), bool)
    for name in names:
        layer, head = parse_name(name)
        if layer >= n_layers or (head or 0) >= n_heads:
            raise ValueError(
                f"there is no head {name}: the model has layers 0 to {n_layers - 1} of heads 0 to {n_heads - 1} each."
            )
        chosen[layer, slice(None) if head is None else head] = True
    return chosen
