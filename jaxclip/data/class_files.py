"""Which line of a file of classes belongs to which label: by its words, by its number, or in the order that is told."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from jaxclip.data.class_names import readable
from jaxclip.data.label_order import whole_numbers
from jaxclip.data.source import MOST_NUMBERS
from jaxclip.data.text_pools import read_lines
from jaxclip.numerics.arrays import counted

MOST_TOLD = 10


class Matched(NamedTuple):
    """Lines of a file of classes for a kind of label.

    Attributes:
      lines: the classes, in the file's order.
      places: for every name of the label, the line that it is; -1 for a name that no image has and no line is.
      told: how they were matched, in a sentence.
    """

    lines: tuple[str, ...]
    places: Int[np.ndarray, "name"]
    told: str


def match_classes(path: Path, kind: str, names: Sequence[str], labels: Int[np.ndarray, "image"]) -> Matched:
    """Find every label's line.

    Lines that say all names are matched by them, whatever their order. Names that are numbers, however written, are
    matched in numeric order where there are as many lines as numbers that occur (or as names); else a number is a
    line's own, counted from 0, or from 1 where the numbers reach the last line. All other names are matched in their
    order, as many lines as names.

    Args:
      path: a file of one class a line.
      kind: of label.
      names: of its values.
      labels: of the images, -1 where there is none.

    Raises:
      FileNotFoundError: no such file.
      ValueError: lines that are empty or twice the same, another number of them than of classes, or lines in another
        order than the names that they say.
    """
    lines = _read(path)
    there = np.unique(labels[labels >= 0]).tolist()
    places = _by_words(lines, names, there)
    if places is not None:
        return Matched(lines, places, f"classes of {path} are matched by their names")
    numbers = whole_numbers(names)
    if numbers is not None and max(numbers) < MOST_NUMBERS:
        places, how = _by_number(path, kind, lines, names, numbers, there)
    else:
        places, how = _in_order(path, kind, lines, names, there), "in the order of the labels"
    pairs = [(names[place], lines[places[place]]) for place in sorted(range(len(names)), key=places.__getitem__)
             if places[place] >= 0]  # fmt: skip
    return Matched(lines, places, f"classes of {path} are matched {how}: {_pairs(pairs)}")


def _by_words(lines: Sequence[str], names: Sequence[str], there: Sequence[int]) -> Int[np.ndarray, "name"] | None:
    for plain in (lambda words: words, _plain):
        said = {plain(line): place for place, line in enumerate(lines)}
        places = np.array([said.get(plain(name), -1) for name in names], np.int64)
        found = places[places >= 0]
        if len(said) == len(lines) and (places[there] >= 0).all() and len(set(found.tolist())) == len(found):
            return places
    return None


def _by_number(
    path: Path, kind: str, lines: Sequence[str], names: Sequence[str], numbers: Sequence[int], there: Sequence[int]
) -> tuple[Int[np.ndarray, "name"], str]:
    places, n = np.full(len(names), -1, np.int64), len(lines)
    found = [numbers[place] for place in there]
    for some in (list(range(len(names))), list(there)):
        if n == len(some):
            for line, place in enumerate(sorted(some, key=numbers.__getitem__)):
                places[place] = line
            return places, "in numeric order"
    first = 1 if min(found) == 1 and max(found) == n else 0
    if min(found) < first or max(found) >= n + first:
        raise ValueError(
            f"{path} has {_classes(lines)}, but {kind} {_counted(there, names)}, up to {max(found)}; write one line "
            f"for each of them."
        )
    for place, number in enumerate(numbers):
        places[place] = number - first if 0 <= number - first < n else -1
    has = f"it has {counted(n, 'line')} and {kind} {_counted(there, names)}"
    return places, f"by their numbers counted from {first}, for {has}"


def _in_order(
    path: Path, kind: str, lines: Sequence[str], names: Sequence[str], there: Sequence[int]
) -> Int[np.ndarray, "name"]:
    if len(lines) != len(names):
        raise ValueError(
            f"{path} has {_classes(lines)}, but {kind} {_counted(range(len(names)), names)}; write one line for each "
            f"of them in this order, or their names among the lines."
        )
    said = {_plain(line): place for place, line in enumerate(lines)}
    for place in there:
        if said.get(_plain(names[place]), place) != place:
            raise ValueError(
                f"{path} has {names[place]!r} in line {said[_plain(names[place])] + 1}, but it is label {place + 1} of "
                f"{kind}; write the classes in the order of the labels: {_list(names)}."
            )
    return np.arange(len(names))


def _plain(words: str) -> str:
    return readable([words])[0].casefold().replace("-", " ")


def _counted(there: Sequence[int], names: Sequence[str]) -> str:
    return f"has {counted(len(there), 'value')} ({_list([names[place] for place in there])})"


def _classes(lines: Sequence[str]) -> str:
    return counted(len(lines), "class", "classes")


def _list(names: Sequence[str]) -> str:
    if len(names) <= MOST_TOLD:
        return ", ".join(names)
    return f"{', '.join(names[: MOST_TOLD - 1])}, .. {names[-1]}"


def _pairs(pairs: Sequence[tuple[str, str]]) -> str:
    return _list([f"{name} is {line!r}" for name, line in pairs])


def _read(path: Path) -> tuple[str, ...]:
    names = tuple(read_lines(path))
    if not names or "" in names:
        where = f"line {names.index('') + 1} is empty" if names else "it is empty"
        raise ValueError(f"{path} must have one class on every line, in the order of the labels; {where}.")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path} has {twice[0]!r} more than once; every class needs a name of its own.")
    return names
