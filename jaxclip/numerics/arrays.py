"""How results print themselves: arrays by their shapes, and a few numbers where those say most."""

from dataclasses import fields
from typing import Any


def by_shapes(self: Any) -> str:
    """Show a dataclass of arrays, as its `__repr__`: each array as its shape, what is None left out."""
    parts = (f"{part.name} {shown(getattr(self, part.name))}" for part in fields(self))
    return f"{type(self).__name__}({', '.join(part for part in parts if not part.endswith(' None'))})"


def shown(value: Any) -> str:
    """Show an array as its shape, everything else as it is."""
    return str(list(value.shape)) if hasattr(value, "shape") else repr(value)


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Write a number with its noun in words: "1 image", "1,204 images".

    Args:
      n: how many.
      noun: for one of them.
      plural: where an s at its end does not make it one.
    """
    return f"{n:,} {noun if n == 1 else plural or f'{noun}s'}"


def numbers(value: Any) -> Any:
    """Return an array's numbers in float64; None where they are not known, as inside `jax.jit`."""
    import numpy as np  # the command line counts too, and answers --help at once

    try:
        return np.asarray(value, np.float64)
    except (TypeError, ValueError):  # tracers, shapes without values, and what stands in for leaves
        return None


def percents(values: Any, most: int = 5) -> str:
    """Write the first few shares of a row."""
    some = ", ".join(f"{value:.0%}" for value in values[:most])
    return some + (", .." if len(values) > most else "")
