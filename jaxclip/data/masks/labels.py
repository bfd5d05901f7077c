"""What the numbers in mask files mean: known with the data set, said by who has them, or told by the numbers.

What cannot be known is refused, with the option that says it: a mask that is read the other way round gives numbers
too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Integer

from jaxclip.data.masks.mask_files import Raw
from jaxclip.numerics.arrays import counted

UNSEEN = 255
"""The label of pixels that nothing is known of, as in Pascal VOC."""
LAST = UNSEEN - 1
"""Labels beyond it are not told apart: where classes are, there are at most so many."""
MOST_LABELS = 181
"""The largest label beside 255 that 8-bit data sets have (COCO-Stuff); larger ones are greys."""
FAR = 32
"""Where the least of labels lies this far from 0 it is a grey: labels are counted from 0 or 1."""


@dataclass(frozen=True)
class MaskLabels:
    """What is said about the numbers in mask files; None where the numbers are to tell.

    Attributes:
      background: the label of the background: 0, if labels are not counted from 0.
      ignore: labels of pixels that do not count: 255, where there are other labels beside it.
      first: the label of the first class; the others follow it. 1, so that 0 is the background.
      threshold: masks are greys, and from this one on a pixel is the object.
      colours: masks are colours, red, green and blue of label 0, 1, ...
    """

    background: int | None = None
    ignore: tuple[int, ...] | None = None
    first: int | None = None
    threshold: int | None = None
    colours: tuple[tuple[int, int, int], ...] | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and (self.background, self.first) != (None, None):
            raise ValueError(
                "mask_threshold is for greys, which have no labels; leave out mask_background; leave out mask_first."
            )
        if self.ignore is not None and self.background in self.ignore:
            raise ValueError(f"label {self.background} cannot be the background and not count; say one of both.")


@dataclass(frozen=True)
class Meaning:
    """Labels as jaxclip has them (0 the background, 255 what does not count) by the numbers in the files.

    `sentence` says so in words; `values` are the numbers that were found, None where nobody looked.
    """

    sentence: str
    values: tuple[int, ...] | None
    read: Callable[[Integer[np.ndarray, "row column"]], Integer[np.ndarray, "row column"]]


class Masks:
    """The mask files of one data set, read under one meaning.

    Args:
      files: every file's pixels, one after another; read only where the numbers have to tell.
      said: what they mean, where it was said.
      known: the data set's own masks mean what jaxclip's do.
    """

    def __init__(self, files: Callable[[], Iterator[Raw]], said: MaskLabels, known: bool):
        self._files, self.said, self.known = files, said, known

    @cached_property
    def meaning(self) -> Meaning:
        """Raises ValueError for numbers that do not tell what they mean."""
        if self.said.threshold is not None:
            return _greys(self.said)
        if self.known:
            return _labels({}, self.said, None)
        counts, lossy = _counted(self._files())
        return settle(counts, self.said, lossy=lossy)

    def read(self, raw: Raw) -> Integer[np.ndarray, "row column"]:
        return self.meaning.read(raw.values)

    def sentence(self, classes: Sequence[str] = ()) -> str:
        """Say what the numbers mean, and which is which of the classes, where masks are to tell these apart."""
        meaning = self.meaning
        labels = [] if meaning.values is None else meaning.read(np.array([meaning.values]))[0].tolist()
        pairs = zip(meaning.values or (), labels, strict=True)
        named = [f"{value} is {classes[label - 1]}" for value, label in pairs if 0 < label <= len(classes)]
        return f"{meaning.sentence}; {', '.join(named[:8])}{', ..' * (len(named) > 8)}" if named else meaning.sentence

    def check(self, way: str, n_classes: int) -> None:
        """Refuse what the numbers leave open in one way of segmenting.

        Raises:
          ValueError: no background among them where the foreground is looked for, or labels that may be counted from 0
            or from 1, where classes are.
        """
        values, said = self.meaning.values, self.said
        if values is None or self.known or said.threshold is not None:
            return
        listed, labels = _listed(values), self.meaning.read(np.array([values]))[0]
        if way == "foreground":
            if said.background is None and not (labels == 0).any():
                raise ValueError(
                    f"masks hold {listed}, and nothing says which is the background; pass it as mask_background=..., "
                    f"and what does not count as mask_ignore=... (in the trimaps of Oxford-IIIT Pet 2 and 3)."
                )
            return
        most = int(labels[labels != UNSEEN].max(initial=0))
        if most > n_classes:
            raise ValueError(
                f"the masks must hold labels 0 to {n_classes}; got {listed}. Name all classes, or say which labels do "
                f"not count with mask_ignore=...."
            )
        if most < n_classes and said.first is None:
            named = f"{counted(n_classes, 'class', 'classes')} {'is' if n_classes == 1 else 'are'}"
            raise ValueError(
                f"masks hold {listed} and {named} named; pass mask_first=1 if label 1 is the first of "
                f"them and 0 the background, or mask_first=0 if labels are counted from 0."
            )


def settle(counts: Mapping[int, int], said: MaskLabels, *, lossy: bool = False) -> Meaning:
    """What the numbers in a data set's masks mean.

    0 and 255 alone are background and object. Other numbers are labels, and 255 beside them does not count, as in
    Pascal VOC; but where 255 has most of the pixels, or numbers are no labels that anyone counts, these are greys.

    Args:
      counts: pixels by their number.
      said: what is known about them.
      lossy: a format kept them that does not keep numbers.

    Raises:
      ValueError: they could mean several things, with what to pass for each.
    """
    values = sorted(counts)
    if said == MaskLabels(colours=said.colours):
        if values in ([0, 255], [0, 65535]):
            sentence = f"masks hold 0 and {values[1]} alone: 0 is read as the background, {values[1]} as the object"
            return Meaning(sentence, tuple(values), lambda raw: (raw > 0).astype(np.int32))
        if values in ([255], [65535]):
            raise ValueError(
                f"masks hold {values[0]} alone, which may be the object or what does not count; pass "
                f"mask_threshold=128 for the first, mask_ignore={values[0]} for the second."
            )
        if (lossy and len(values) > 2) or _are_greys(counts):
            why = ", in a format that does not keep numbers" if lossy else ""
            raise ValueError(
                f"masks hold {_listed(values)}{why}: greys, as where edges are smooth, or labels; pass "
                f"mask_threshold=128 if from there on a pixel is the object, or mask_ignore=255 if these are labels "
                f"and 255 does not count."
            )
    return _labels(counts, said, tuple(values))


def _are_greys(counts: Mapping[int, int]) -> bool:
    labels = [value for value in counts if value not in (0, 255)]
    if 255 not in counts or not labels or max(labels) > 255:
        return False
    own = sum(counts[value] for value in labels)
    return counts[255] >= own or max(labels) > MOST_LABELS or min(labels) >= FAR


def _greys(said: MaskLabels) -> Meaning:
    least, ignored = said.threshold or 0, list(said.ignore or ())

    def read(raw: np.ndarray) -> np.ndarray:
        return np.where(np.isin(raw, ignored), UNSEEN, raw >= least).astype(np.int32)

    return Meaning(f"masks: from {least} on a pixel is the object{_not_counted(ignored)}", None, read)


def _labels(counts: Mapping[int, int], said: MaskLabels, values: tuple[int, ...] | None) -> Meaning:
    """Labels, counted from `first`."""
    first = 1 if said.first is None else said.first
    background = said.background if said.background is not None or first < 1 else 0
    beside = values is None or (255 in counts and len(counts) > 1 and max(counts) == 255)
    ignored = list(said.ignore) if said.ignore is not None else [255] * beside
    if low := [value for value in counts if value < first and value != background and value not in ignored]:
        raise ValueError(
            f"masks hold {low[0]}, which is below the first class's label, {first}, and neither the background nor "
            f"ignored; pass mask_first={low[0]} if it is a class, mask_background={low[0]} or mask_ignore={low[0]}."
        )

    def read(raw: np.ndarray) -> np.ndarray:
        found = np.clip(raw.astype(np.int32) - (first - 1), 0, LAST)
        if background is not None:
            found[raw == background] = 0
        found[np.isin(raw, ignored)] = UNSEEN
        return found

    there = "there is no background" if background is None else f"{background} is the background"
    own = f", {first} the first class" if said.first is not None else ", every other label an object"
    hold = "masks: " if values is None else f"masks hold {_listed(values)}: "
    return Meaning(f"{hold}{there}{own}{_not_counted(ignored)}", values, read)


def _not_counted(ignored: list[int]) -> str:
    if not ignored:
        return ""
    return f", and {' and '.join(map(str, ignored))} {'does' if len(ignored) == 1 else 'do'} not count"


def _counted(files: Iterator[Raw]) -> tuple[dict[int, int], bool]:
    """Pixels by their number, of all files together, and whether a lossy format is among them."""
    counts, lossy = dict[int, int](), False
    for raw in files:
        for value, n in _occurring(raw.values):
            counts[value] = counts.get(value, 0) + n
        lossy |= raw.is_lossy
    return counts, lossy


def _occurring(values: np.ndarray) -> Iterator[tuple[int, int]]:
    """The numbers in one mask, each with its pixels."""
    if values.dtype == np.uint8:  # ten times as fast as sorting them
        n = np.bincount(values.ravel(), minlength=256)
        there = np.flatnonzero(n)
        return zip(there.tolist(), n[there].tolist(), strict=True)
    there, n = np.unique(values, return_counts=True)
    return zip(there.tolist(), n.tolist(), strict=True)


def _listed(values: tuple[int, ...] | list[int]) -> str:
    if len(values) <= 5:
        return ", ".join(map(str, values))
    return f"{len(values)} numbers from {values[0]} to {values[-1]} ({', '.join(map(str, values[:3]))}, ...)"
