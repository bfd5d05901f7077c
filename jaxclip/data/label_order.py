"""The order of classes, for every source that has to choose one: a number is a number, however it is written."""

import math
import re
from collections.abc import Iterable, Sequence

WHOLE = re.compile(r"[+-]?\d+([.,]0*)?", re.ASCII)
NUMBERED = re.compile(r"(?P<before>[^0-9]*)(?P<number>\d+)(?P<after>[^0-9A-Za-z].*|)", re.ASCII | re.DOTALL)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Different names in the order that classes are counted in.

    Where all are numbers (1, 2, 10; 0.5, 1.0), or the same words with a number behind them (class_1, class_10; c1, c10;
    1_cat, 10_dog), by that number; else by their characters, as data sets that come with lists of classes have it
    ("DC-10", "DC-3", "Cessna 172" are names, not numbers).
    """
    names = tuple(dict.fromkeys(names))
    values = _values(names)
    return tuple(sorted(names)) if values is None else tuple(x for _, x in sorted(zip(values, names, strict=True)))


def whole_numbers(names: Sequence[str]) -> tuple[int, ...] | None:
    """The number in each name, where all have one in the same place and no two the same; else None."""
    values = _values(names) or ()
    numbers = tuple(int(value) for value in values if value == int(value))
    return numbers if names and len(set(numbers)) == len(names) else None


def whole(word: str) -> int | None:
    """A whole number however it is written: 7, 07, +7, 7.0, and 7,0 of tables whose commas are decimal.

    Raises:
      ValueError: it has more digits than Python reads.
    """
    return int(re.split("[.,]", word)[0]) if WHOLE.fullmatch(word) else None


def _values(names: Sequence[str]) -> list[float] | None:
    try:
        values = [float(name) for name in names if name.isascii() and "_" not in name]
        if len(values) == len(names) and all(map(math.isfinite, values)):
            return values
    except ValueError:
        pass
    found = [NUMBERED.fullmatch(name) for name in names]
    parts = [one for one in found if one is not None and len(one["number"]) < 16]  # what a float holds exactly
    alike = len(parts) == len(names) and len({one["before"] for one in parts}) == 1
    return [float(one["number"]) for one in parts] if alike else None
