"""Text maps laid over pictures: overlays at a picture's own resolution, and a figure of all of them with its legend.

Colours are a diverging map centred at zero and perceptually uniform by construction: from a light grey in the middle
straight lines of one length run to a blue and to an orange red in CIELAB, so equal steps of a value are equal steps in
lightness and in colour, on both sides.
"""

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure

ENDS = ((38.0, 46.0, 278.0), (96.0, 0.0, 0.0), (38.0, 46.0, 40.0))
"""Lightness, chroma and hue (in degrees) of the least, of zero and of the most."""

STRENGTH = 0.65
"""Share of the colour in an overlay; the rest is the picture in grey."""

INCHES = 3.0
LEAST_PIXELS, MOST_PIXELS = 280, 12_000


class Row(NamedTuple):
    """One row of a figure: maps of all texts at the picture's resolution, under one scale."""

    name: str
    maps: Float[np.ndarray, "text height width"]
    limit: float


def diverging(n: int = 511) -> ListedColormap:
    """The colour map; an odd number of colours puts one of them at zero."""
    ends = np.array(
        [[light, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))] for light, chroma, hue in ENDS]
    )
    places = np.linspace(-1, 1, n)[:, None]
    lab = ends[1] + np.abs(places) * (np.where(places < 0, ends[0], ends[2]) - ends[1])
    return ListedColormap(_srgb(lab), name="blue_grey_red")


def overlay(
    picture: UInt8[np.ndarray, "height width channel"], values: Float[np.ndarray, "height width"], limit: float
) -> UInt8[np.ndarray, "height width channel"]:
    """The picture in grey under the colours of a map; in grey alone and darker where the map is NaN.

    Args:
      limit: the value of the most saturated red; minus it is that of the blue.
    """
    grey = picture.astype(np.float32).mean(-1, keepdims=True) / 255
    colours = diverging()(np.nan_to_num(values) / (2 * (limit or 1)) + 0.5)[..., :3]
    mixed = np.where(np.isnan(values)[..., None], 0.5 * grey, (1 - STRENGTH) * grey + STRENGTH * colours)
    return np.rint(255 * mixed).astype(np.uint8)


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
        for j, (panel, text) in enumerate(zip(panels, [row.name, *texts], strict=True)):
            axis = figure.add_axes(
                ((gap + j * (INCHES + gap)) / across, bottom / down, INCHES / across, tall / down)
            )  # fmt: skip
            axis.imshow(panel, interpolation="nearest", aspect="auto")
            axis.set(xticks=[], yticks=[])
            axis.set_title(_wrapped(text), fontsize=9)
        legend = figure.add_axes(((gap + n * (INCHES + gap)) / across, bottom / down, 0.15 / across, tall / down))
        scale = Normalize(-row.limit or -1, row.limit or 1)
        figure.colorbar(ScalarMappable(scale, diverging()), cax=legend)
        legend.tick_params(labelsize=7)
        legend.set_ylabel(_wrapped(unit, 36), fontsize=7)
    return figure


def save_overlay_figure(figure: Figure, path: Path) -> Path:
    """Write a figure of `overlay_figure` at its own resolution, as PNG, SVG or PDF by the path's suffix."""
    with matplotlib.rc_context({"svg.hashsalt": "jaxclip", "font.family": "sans-serif"}):
        figure.savefig(path)
    return path


def _srgb(lab: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
    """CIELAB under D65 to sRGB in [0, 1]; IEC 61966-2-1."""
    y = (lab[:, 0] + 16) / 116
    f = np.stack([y + lab[:, 1] / 500, y, y - lab[:, 2] / 200], axis=-1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.95047, 1.0, 1.08883]
    linear = xyz @ np.linalg.inv(XYZ_OF_SRGB).T
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


XYZ_OF_SRGB = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def _wrapped(text: str, width: int = 34) -> str:
    """At most two lines, with dollar signs that are no formulas."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    lines.append(line)
    kept = lines if len(lines) < 3 else [lines[0], lines[1][: width - 4] + " ..."]
    return "\n".join(kept).replace("$", r"\$")
