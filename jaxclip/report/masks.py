"""Segmented pictures for people: each picture, what was found in it, and what is there where that is known."""

from collections.abc import Sequence
from math import ceil
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer, UInt8
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from jaxclip.analyses.segmentation.view import UNSEEN
from jaxclip.report.colours import on_paper

COLOURS = (
    "#cc6677", "#332288", "#ddcc77", "#117733", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#ee8866",
)  # fmt: skip
"""Of classes, in the order of their labels: Paul Tol's "muted", and an orange. From the eleventh on they come again."""
STRENGTH = 0.6
"""Share of a class's colour; the rest is the picture in grey."""
ACROSS = 3


class Shown(NamedTuple):
    """One picture with its labels, at its own resolution; 0 is the background, 255 was not looked at.

    `title` says what was found; `truth` is None where nobody knows.
    """

    name: str
    title: str
    picture: UInt8[np.ndarray, "height width channel"]
    found: Integer[np.ndarray, "height width"]
    truth: Integer[np.ndarray, "height width"] | None


@on_paper
def masks_figure(shown: Sequence[Shown], names: Sequence[str]) -> Figure:
    """Three pictures a row, each beside what was found in it and its mask.

    Args:
      names: of labels 1 and up.
    """
    n_panels = 2 + any(one.truth is not None for one in shown)
    rows, columns = ceil(len(shown) / ACROSS), min(len(shown), ACROSS)
    width = 1.5 * n_panels * columns
    figure = Figure(figsize=(width, 1.75 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, n_panels * columns, squeeze=False).reshape(rows * columns, n_panels)
    for axis in axes.flat:
        axis.set_axis_off()
    colours = class_colours(shown)
    for own, one in zip(axes, shown, strict=False):
        titles, parts = (_cut(one.name), _cut(one.title), "mask"), (None, one.found, one.truth)
        for axis, title, labels in zip(own, titles, parts, strict=False):
            if axis is own[0] or labels is not None:
                axis.imshow(one.picture if labels is None else painted(one.picture, labels, colours))
                axis.set_title(title, fontsize=7)
    legend = [Patch(color=colours[label], label=names[label - 1]) for label in sorted(colours)]
    if legend:
        figure.legend(handles=legend, fontsize=7, ncols=int(width), loc="outside lower center")
    return figure


def class_colours(shown: Sequence[Shown]) -> dict[int, str]:
    """A colour for every label that is there, in the order of the labels."""
    parts = [labels for one in shown for labels in (one.found, one.truth) if labels is not None]
    there = sorted({int(label) for labels in parts for label in np.unique(labels)} - {0, UNSEEN})
    return {label: COLOURS[i % len(COLOURS)] for i, label in enumerate(there)}


def painted(
    picture: UInt8[np.ndarray, "height width channel"],
    labels: Integer[np.ndarray, "height width"],
    colours: dict[int, str],
) -> Float[np.ndarray, "height width channel"]:
    """The picture in grey under the colours of its labels; darker where nothing is known."""
    grey = np.repeat(picture.astype(np.float32).mean(-1, keepdims=True) / 255, 3, axis=-1)
    grey[labels == UNSEEN] *= 0.4
    for label, colour in colours.items():
        where = labels == label
        grey[where] = (1 - STRENGTH) * grey[where] + STRENGTH * np.array(to_rgb(colour), np.float32)
    return grey


def _cut(text: str, most: int = 26) -> str:
    return text if len(text) <= most else f"{text[: most - 2]} …"
