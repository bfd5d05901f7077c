"""Colours of every figure, chosen so that readers of any colour vision tell them apart.

Lines and bars take theirs from `BLUE`, `RED`, `GREEN`, `YELLOW` and `GREY` (Paul Tol's "bright"), and differ in dashes,
marks or place as well. Signed values take `diverging`, centred at zero and perceptually uniform by construction: from a
light grey in the middle straight lines of one length run to a blue and to an orange red in CIELAB, so equal steps of a
value are equal steps in lightness and in colour, on both sides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from jaxtyping import Float
from matplotlib.colors import ListedColormap

BLUE, RED, GREEN, YELLOW, GREY = "#4477aa", "#ee6677", "#228833", "#ccbb44", "#bbbbbb"

ENDS = ((38.0, 46.0, 278.0), (96.0, 0.0, 0.0), (38.0, 46.0, 40.0))
"""Lightness, chroma and hue (in degrees) of the least, of zero and of the most."""

PAPER: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 10, "axes.titlesize": 11, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "lines.linewidth": 1.8, "pdf.fonttype": 42,
    "svg.hashsalt": "jaxclip", "text.parse_math": False,
}  # fmt: skip
"""matplotlib's settings for all figures, beside its own defaults. Letters stay letters in PDF, and dollar signs in any
text; ids in SVG do not change from run to run."""


@contextmanager
def _on_paper() -> Iterator[None]:
    """`PAPER` over what matplotlib comes with, whatever its user has set; afterwards that is as it was."""
    # Values as they are: reading deprecated ones by name would warn. The backend belongs to the user's session.
    shipped = {name: value for name, value in dict.items(matplotlib.rcParamsDefault) if name != "backend"}
    with matplotlib.rc_context():
        dict.update(matplotlib.rcParams, shipped)
        matplotlib.rcParams.update(PAPER)
        yield


on_paper = _on_paper()
"""Decorates what makes or writes a figure: settings count where axes are made, and where they are drawn."""


def diverging(n: int = 511) -> ListedColormap:
    """The colour map of signed values; an odd number of colours puts one of them at zero."""
    ends = np.array(
        [[light, chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))] for light, chroma, hue in ENDS]
    )
    places = np.linspace(-1, 1, n)[:, None]
    lab = ends[1] + np.abs(places) * (np.where(places < 0, ends[0], ends[2]) - ends[1])
    return ListedColormap(_srgb(lab), name="blue_grey_red")


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
