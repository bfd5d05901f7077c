"""A run's images again, as the model saw them: inputs for maps, and small pictures that fit into a page."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from jaxclip.data.open_data import Kind, open_data
from jaxclip.data.own import is_own
from jaxclip.data.source import Example, Source
from jaxclip.numerics.arrays import counted
from jaxclip.preprocess import preprocess, unnormalize
from jaxclip.runs.run import Run

THUMBNAIL, PAGE = 128, 336
"""Longest sides in pixels: of a picture in a row of examples, and of one with a page of its own."""


def run_source(run: Run, data: str | None = None, split: str | None = None) -> Source:
    """Where a run's images are.

    Args:
      run: whose images they are.
      data: where they are, if not where the run found them.
      split: of data sets that have splits; of the scenes it is known.

    Raises:
      ValueError, FileNotFoundError: there are none, too few, or the first is another one.
    """
    held = run.info["data"]
    if data is None:
        split = split or held.get("split")
        if split is None and held["kind"] == "scenes":
            split = run.names[0].split("/")[0]
        _check_findable(run)
    try:
        kind = held["kind"] if data is None and held["kind"] in get_args(Kind) else None
        source = open_data(data or held["source"], kind=kind, split=split, limit=held["n_images"])
    except (ValueError, OSError) as error:
        if data is not None:
            raise
        raise ValueError(f"the run's images cannot be found: {error} Say where they are with --data.") from error
    if len(source) < held["n_images"]:
        there = counted(len(source), "image")
        raise ValueError(f"{data or held['source']} has {there}, the run {held['n_images']}; see --data.")
    _checked(run, source, int(run.rows[0]))
    return source


def _check_findable(run: Run) -> None:
    """Refuse what can only be opened again by somebody who says how."""
    held = run.info["data"]
    if is_own(held["source"]):  # code is run where a person names it, not where a run does
        raise ValueError(f"the run's images come from a source of its own; name it with --data {held['source']}.")
    if not held["source"] and held["kind"] != "scenes":
        raise ValueError(
            f"the run's images come from a source of its own (of kind {held['kind']!r}), made in Python, which no "
            f"command can open again; name it as FILE.py:NAME with --data, or a folder of the same names in that order."
        )


def _checked(run: Run, source: Source, row: int) -> Example:
    """An image of a run, read again."""
    name, example = run.names[row], source[row]
    if example.name != name:
        raise ValueError(
            f"image {row} of the data is {example.name}, but the run had {name} there; name the run's own images "
            f"with --data and --split."
        )
    return example


class Pictures:
    """The images of a run by their numbers."""

    def __init__(self, run: Run, source: Source, config: Any):
        self.run, self.source, self.config = run, source, config
        self._said: set[str] = set()

    def inputs(self, rows: Sequence[int]) -> Float[np.ndarray, "batch height width channel"]:
        """What the tower takes.

        Raises:
          ValueError: another image stands where the run had one, or it cannot be read any more.
        """
        images, apply_exif = [], self.run.info["options"]["apply_exif"]
        for row in rows:
            image = _checked(self.run, self.source, row).image
            images.append(preprocess(image, self.config, apply_exif=apply_exif, said=self._said)[0])
        return np.stack(images)

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
