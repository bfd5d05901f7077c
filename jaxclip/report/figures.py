"""Figures: a picture with its maps, and direct effects by layer and head."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure

from jaxclip.files.whole import write_whole
from jaxclip.report.colours import diverging, on_paper
from jaxclip.report.lettering import letter, wrapped

DOTS_PER_INCH = 300.0


@on_paper
def map_figure(
    picture: UInt8[np.ndarray, "height width channel"],
    maps: Float[np.ndarray, "text row column"],
    texts: Sequence[str],
    box: tuple[float, float, float, float],
    unit: str = "direct effect per patch",
) -> Figure:
    """A picture beside one panel a text: where attention adds to (red) or takes from (blue) the text's score.

    Args:
      picture: at its own resolution.
      maps: one value a patch.
      texts: panel titles.
      box: the part of the picture the model saw (left, top, right, bottom), in the picture's pixels.
      unit: what the colour bar says.
    """
    height, width = picture.shape[:2]
    n = len(texts) + 1
    figure = Figure(figsize=(3 * n + 0.8, 3 * min(2.0, height / width) + 0.8), layout="constrained")
    axes = figure.subplots(1, n, squeeze=False)[0]
    axes[0].imshow(picture)
    axes[0].set_title("picture")
    limit = float(np.abs(maps).max()) or 1.0
    left, top, right, bottom = box
    drawn = None
    for axis, values, text in zip(axes[1:], maps, texts, strict=True):
        axis.imshow(picture.mean(-1), cmap="gray", vmin=0, vmax=255, alpha=0.55)
        drawn = axis.imshow(
            values, extent=(left, right, bottom, top), cmap=diverging(), vmin=-limit, vmax=limit, alpha=0.72,
            interpolation="bilinear",
        )  # fmt: skip
        axis.set_title(wrapped(text), fontsize=10)
    for axis in axes:
        axis.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    if drawn is not None:
        figure.colorbar(drawn, ax=list(axes), label=wrapped(unit), shrink=0.85)
    return figure


@on_paper
def effects_figure(
    attn: Float[np.ndarray, "layer head"], mlp: Float[np.ndarray, "layer"], title: str, unit: str
) -> Figure:
    """The layer-by-head grid of direct effects, MLPs in a column of their own."""
    figure = Figure(
        figsize=(max(4.5, 0.6 * attn.shape[1] + 2.5), max(3.0, 0.32 * len(attn) + 1.4)), layout="constrained"
    )
    left, right = figure.subplots(1, 2, width_ratios=(attn.shape[1], 1), sharey=True)
    limit = float(max(np.abs(attn).max(), np.abs(mlp).max())) or 1.0
    look = {"cmap": diverging(), "vmin": -limit, "vmax": limit, "aspect": "auto"}
    drawn = left.imshow(attn, **look)
    right.imshow(mlp[:, None], **look)
    left.set(xlabel="head", ylabel="layer", title=title, xticks=range(attn.shape[1]), yticks=range(len(attn)))
    right.set(xticks=[0], xticklabels=["MLP"])
    right.tick_params(left=False)
    figure.colorbar(drawn, ax=[left, right], label=wrapped(unit))
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, SVG or PDF, by its suffix; PNG in print's resolution."""
    return write(figure, path, DOTS_PER_INCH)


def save_all(figure: Figure, path: Path, formats: Sequence[str]) -> list[Path]:
    """`save` in each of some formats.

    Args:
      path: without a suffix.
    """
    return [save(figure, path.with_name(f"{path.name}.{suffix}")) for suffix in formats]


@on_paper
def write(figure: Figure, path: Path, dpi: float | Literal["figure"]) -> Path:
    """The same figure is the same file, to the last byte: the day it was written is left out."""
    letter(figure)
    undated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # one a letter; `letter` has said it
        figure.savefig(drawn, format=path.suffix[1:], dpi=dpi, metadata=undated.get(path.suffix))
    write_whole(path, drawn.getvalue())
    return path
