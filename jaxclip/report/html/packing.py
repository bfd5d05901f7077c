"""A run's images again, as the model saw them: inputs for maps, and small pictures that fit into a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from jaxclip.data.source import Source
from jaxclip.preprocess import unnormalize
from jaxclip.runs.images import run_inputs
from jaxclip.runs.run import Run

THUMBNAIL, PAGE = 128, 336
"""Longest sides in pixels: of a picture in a row of examples, and of one with a page of its own."""


class Pictures:
    """The images of a run by their numbers."""

    def __init__(self, run: Run, source: Source, config: Any):
        self.run, self.source, self.config = run, source, config
        self._said: set[str] = set()

    def inputs(self, rows: Sequence[int]) -> Float[np.ndarray, "batch height width channel"]:
        """Read images as the tower takes them; see `jaxclip.runs.images.run_inputs`."""
        return run_inputs(self.run, self.source, self.config, rows, said=self._said)

    def small(self, image: Float[np.ndarray, "height width channel"], side: int) -> str:
        """A picture of an input, at most `side` pixels long, as a data URI."""
        picture = Image.fromarray(unnormalize(image, self.config))
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        return data_uri(picture)

    def labels(self, row: int) -> Mapping[str, str]:
        """Names of the image's labels, by kind."""
        names = self.run.label_names
        held = {kind: int(values[row]) for kind, values in self.run.labels.items()}
        return {kind: names[kind][index] for kind, index in held.items() if index >= 0}


def data_uri(picture: Image.Image, quality: int = 82) -> str:
    """A picture as WebP inside a URI."""
    file = io.BytesIO()
    picture.save(file, "WEBP", quality=quality, method=4)
    return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def packed(values: Float[np.ndarray, "..."], *, read: bool = False) -> dict[str, Any]:
    """Numbers as signed whole ones: value = number * scale.

    Args:
      values: whatever their shape.
      read: in pairs of bytes, for numbers that stand in words; else in single ones, of which 127 is the largest value:
        what a map can show.
    """
    values = np.asarray(values, np.float64)
    most, kind, name = (2**15 - 1, "<i2", "pairs") if read else (127, "i1", "bytes")
    scale = float(f"{float(np.abs(values).max(initial=0)) / most:.7g}")
    numbers = np.rint(values / scale).clip(-most, most) if scale else np.zeros_like(values)
    return {"scale": scale, name: base64.b64encode(numbers.astype(kind).tobytes()).decode()}


def short(value: Any) -> float | None:
    """Four digits; None for what JSON has no word for."""
    return float(f"{float(value):.4g}") if np.isfinite(value) else None


def shorts(values: Any) -> Any:
    """`short` of every number, as nested lists."""
    values = np.asarray(values)
    return short(values) if values.ndim == 0 else [shorts(value) for value in values]


def spread(rows: Int[np.ndarray, "image"], most: int) -> Int[np.ndarray, "some"]:
    """At most `most` of some numbers, evenly."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(np.int64))]
