"""What a source turned out to hold, in words: before a pass that may take hours, its user sees what was understood."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.data.source import First, Source
from jaxclip.data.walk import named_folders, named_kinds
from jaxclip.files.images import open_image
from jaxclip.numerics.arrays import counted

MOST_NAMES = 10
LOOKED_AT = 16


def described(source: Source) -> list[str]:
    """Lines that say what a source is, its kinds of label with their classes in order, and what was left out."""
    whole = source.source if isinstance(source, First) else source
    lines = [f"{counted(len(source), 'image')} ({whole.kind})"]
    lines += [labels_line(kind, names) for kind, names in source.label_names.items()] or ["no labels"]
    others = getattr(whole, "others", None) or {}
    skipped = named_kinds(others)
    left = [f"left out: {words}" for words in (*getattr(whole, "left_out", ()), *named_folders(others))]
    return [*lines, *([skipped] if skipped else []), *left]


def labels_line(kind: str, names: Sequence[str]) -> str:
    """ "label: 10 classes, in this order: 1, 2, 3, .. 10"."""
    n, some = len(names), list(names)
    if n > MOST_NAMES:
        some = [*names[: MOST_NAMES - 1], f".. {names[-1]}"]
    order = ", in this order" if n > 1 else ""
    return f"label {kind}: {counted(n, 'class', 'classes')}{order}: {', '.join(some)}"


def some_sizes(source: Source) -> list[tuple[int, int]]:
    """Height and width of a few pictures spread over a source, as far as their headers can be read."""
    places = np.unique(np.linspace(0, len(source) - 1, min(len(source), LOOKED_AT)).astype(np.int64)).tolist()
    return [size for place in places if (size := _size(source[place].image)) is not None]


def _size(image: Any) -> tuple[int, int] | None:
    if isinstance(image, np.ndarray):
        return int(image.shape[0]), int(image.shape[1])
    if isinstance(image, (str, Path, bytes, io.BytesIO)):
        try:
            with open_image(image) as opened:
                return opened.height, opened.width
        except Exception:  # a damaged file can raise nearly anything, and the pass itself says what is wrong with it
            return None
    return None


def summary(source: Source) -> Mapping[str, Any]:
    """The same as JSON types: kinds of label with their classes, and files of other kinds by their suffix."""
    whole = source.source if isinstance(source, First) else source
    labels = {kind: list(names) for kind, names in source.label_names.items()}
    return {"labels": labels, "skipped": dict(getattr(whole, "others", {}))}
