"""Heads as they are written: "5.2" is head 2 of layer 5, both counted from 0."""

import re


def parse_heads(words: str) -> tuple[tuple[int, int], ...]:
    """ "5.2,5.3" as ((5, 2), (5, 3)): layer and head of each, both counted from 0.

    Raises:
      ValueError: anything else.
    """
    parts = [part.strip() for part in words.split(",")]
    if wrong := [part for part in parts if not re.fullmatch(r"\d+\.\d+", part, re.ASCII)]:
        raise ValueError(f"heads are given as layer.head, several with commas, such as 5.2,5.3; got {wrong[0]!r}.")
    return tuple((int(layer), int(head)) for layer, head in (part.split(".") for part in parts))
