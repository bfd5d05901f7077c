"""Text maps laid over pictures: overlays at a picture's own resolution, and a figure of all of them with its legend.

Colours are `jaxclip.report.colours.diverging`, centred at zero.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from jaxclip.analyses.segmentation.view import Box
from jaxclip.report.colours import diverging, on_paper
from jaxclip.report.figures import write
from jaxclip.report.lettering import wrapped

STRENGTH = 0.65
"""Share of the colour in an overlay; the rest is the picture in grey."""

STRIP = 256
"""Rows that are drawn at once."""
INCHES = 3.0
LEAST_PIXELS, MOST_PIXELS = 280, 12_000
MOST_SIDE = 4096
"""Pixels of a picture in a figure, along its longer side."""


class Row(NamedTuple):
    """One row of a figure: maps of all texts at the picture's resolution, under one scale."""

    name: str
    maps: Float[np.ndarray, "text height width"]
    limit: float


def for_figure(
    picture: UInt8[np.ndarray, "height width channel"], box: Box
) -> tuple[UInt8[np.ndarray, "height width channel"], Box]:
    """A picture, and a box on it, no larger than a figure draws it: a whole number of its pixels become one."""
    factor = ceil(max(picture.shape[:2]) / MOST_SIDE)
    if factor == 1:
        return picture, box
    left, top, right, bottom = (place / factor for place in box)
    return np.asarray(Image.fromarray(picture).reduce(factor)), (left, top, right, bottom)


def overlay(
    picture: UInt8[np.ndarray, "height width channel"], values: Float[np.ndarray, "height width"], limit: float
) -> UInt8[np.ndarray, "height width channel"]:
    """The picture in grey under the colours of a map; in grey alone and darker where the map is NaN.

    Args:
      limit: the value of the most saturated red; minus it is that of the blue.
    """
    drawn = np.empty(picture.shape, np.uint8)
    for start in range(0, len(picture), STRIP):  # in reals a large photograph would take gigabytes
        strip = slice(start, start + STRIP)
        grey = picture[strip].astype(np.float32).mean(-1, keepdims=True) / 255
        colours = diverging()(np.nan_to_num(values[strip]) / (2 * (limit or 1)) + 0.5)[..., :3]
        mixed = np.where(np.isnan(values[strip])[..., None], 0.5 * grey, (1 - STRENGTH) * grey + STRENGTH * colours)
        drawn[strip] = np.rint(255 * mixed)
    return drawn


@on_paper
def overlay_figure(
    picture: UInt8[np.ndarray, "height width channel"], rows: Sequence[Row], texts: Sequence[str], unit: str
) -> Figure:
    """The picture, a panel a text, a row for the sum and for each head asked for, and a colour bar a row.

    Panels have at least as many pixels as the picture, unless the figure would be wider than 12,000.

    Args:
      unit: what the colour bars say.
    """
    height, width = picture.shape[:2]
    tall, n = INCHES * min(height / width, 4.0), len(texts) + 1
    gap, title, bar = 0.12, 0.55, 1.1
    across, down = n * (INCHES + gap) + gap + bar, len(rows) * (tall + title) + gap
    pixels = width * ceil(LEAST_PIXELS / width) if width < LEAST_PIXELS else width
    figure = Figure(figsize=(across, down), dpi=min(pixels / INCHES, MOST_PIXELS / across))
    for i, row in enumerate(rows):
        bottom = down - (i + 1) * (tall + title)
        panels = [picture, *(overlay(picture, values, row.limit) for values in row.maps)]
        for j, (panel, text) in enumerate(zip(panels, [f"picture; maps: {row.name}", *texts], strict=True)):
            axis = figure.add_axes(
                ((gap + j * (INCHES + gap)) / across, bottom / down, INCHES / across, tall / down)
            )  # fmt: skip
            axis.imshow(panel, interpolation="nearest", aspect="auto")
            axis.set(xticks=[], yticks=[])
            axis.set_title(wrapped(text, 34, most=2), fontsize=9)
        legend = figure.add_axes(((gap + n * (INCHES + gap)) / across, bottom / down, 0.15 / across, tall / down))
        scale = Normalize(-row.limit or -1, row.limit or 1)
        figure.colorbar(ScalarMappable(scale, diverging()), cax=legend)
        legend.tick_params(labelsize=7)
        legend.set_ylabel(wrapped(unit, 36, most=2), fontsize=7)
    return figure


def save_overlay_figure(figure: Figure, path: Path) -> Path:
    """Write a figure of `overlay_figure` at its own resolution, as PNG, SVG or PDF by the path's suffix."""
    return write(figure, path, "figure")
