"""What a source of images is: anything with a length, an index, the names of its labels and a fingerprint.

Labels come with the image they belong to; nobody lines them up by order afterwards.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from jaxclip.data.label_order import in_order, whole

UNLABELLED = -1


class Example(NamedTuple):
    """One image, not decoded yet, with what is known of it.

    `labels` maps a kind of label ("label", "group", ...) to an index into the source's names of that kind, or -1 where
    it does not apply. `name` is the path, or what tells the image apart where there is none.
    """

    name: str
    image: Any
    labels: Mapping[str, int]


class Origin(NamedTuple):
    """What `jaxclip.data.open_data.open_data` opened a source from; a command opens it again with the same words."""

    data: str = ""
    split: str | None = None


def origin(source: Any) -> Origin:
    """Where a source comes from; nothing is known of one that was made by hand."""
    return getattr(source, "origin", Origin())


@runtime_checkable
class Source(Protocol):
    """Images in a fixed order; safe to index from several threads. Any class of one's own that has all of this.

    `label_names` is kind of label -> names of its values, {} without labels; an image's labels are indices into them.
    """

    @property
    def kind(self) -> str: ...

    @property
    def label_names(self) -> Mapping[str, Sequence[str]]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Example: ...

    def fingerprint(self) -> str:
        """Changes when an image, its label or the order changes."""
        ...


class Stored(NamedTuple):
    """The files that a source reads.

    Attributes:
      n: how many.
      path: of one, by its number.
      one_each: whether every image has a file of its own, with the image's number.
    """

    n: int
    path: Callable[[int], Path]
    one_each: bool


def stored(source: Any) -> Stored:
    """What a source's own `stored` says; one that draws its images has no files."""
    return source.stored() if hasattr(source, "stored") else Stored(0, lambda number: Path(), False)


class First:
    """The first n images of another source."""

    def __init__(self, source: Source, n: int):
        if n < 1:
            raise ValueError(f"the number of images to take must be at least 1; got {n}.")
        self.source, self.n = source, min(n, len(source))
        self.kind, self.label_names = source.kind, source.label_names

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < self.n:
            raise IndexError(index)
        return self.source[index]

    def fingerprint(self) -> str:
        return digest(["first", self.n, self.source.fingerprint()])

    def stored(self) -> Stored:
        found = stored(self.source)
        return found._replace(n=self.n) if found.one_each else found


class Labels(NamedTuple):
    """One kind of label for all images: indices into names, -1 where there is none."""

    values: np.ndarray
    names: tuple[str, ...]

    @classmethod
    def of(cls, words: Sequence[str]) -> "Labels":
        """From what a file says. Whole numbers stay what they are, 1.0 as well as 1; words become places in their
        order. Empty words and -1 are images without a label, and "nan" among numbers.

        Raises:
          ValueError: a negative number other than -1.
        """
        words = [word.strip() for word in words]
        numbers = {word: whole(word) for word in dict.fromkeys(words)} | {"": UNLABELLED}
        if any(number is not None and number >= 0 for number in numbers.values()):
            numbers |= {word: UNLABELLED for word in numbers if word.lower() == "nan"}
        present = [word for word, number in numbers.items() if number != UNLABELLED]
        counts = [number for word in present if (number := numbers[word]) is not None]
        if present and len(counts) == len(present):
            if min(counts) < 0:
                raise ValueError(f"labels must be 0 or more, or -1 where there is none; got {min(counts)}.")
            if max(counts) < MOST_NUMBERS:
                return cls(np.array([numbers[word] for word in words], np.int32), _counted(max(counts) + 1))
        places = {name: place for place, name in enumerate(in_order(present))}
        return cls(np.array([places.get(word, UNLABELLED) for word in words], np.int32), tuple(places))


MOST_NUMBERS = 100_000
"""Numbers below this count classes; larger ones are identifiers, and treated as words."""


def kinds_there(label_names: Mapping[str, Sequence[str]]) -> str:
    """The kinds of label there are, for an error about one that is missing; if there are none, where they come from."""
    nothing = "none. Labels come from a folder per class, or a .csv with a column of paths and one of each kind"
    return ", ".join(kind for kind, names in label_names.items() if names) or nothing


def _counted(n: int) -> tuple[str, ...]:
    return tuple(map(str, range(n)))


def digest(parts: Iterable[Any]) -> str:
    """SHA-256 over JSON-able parts, in order.

    >>> jaxclip.digest(["tiles", 12]) == jaxclip.digest(["tiles", 12]), len(jaxclip.digest([]))
    (True, 64)
    """
    total = hashlib.sha256()
    for part in parts:
        total.update(json.dumps(part, ensure_ascii=True).encode() + b"\n")
    return total.hexdigest()
