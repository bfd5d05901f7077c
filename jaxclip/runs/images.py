"""A run's images again: where they are, and as its model saw them."""

from collections.abc import Sequence
from typing import get_args

import numpy as np
from jaxtyping import Float, UInt8

from jaxclip.config import PreprocessConfig
from jaxclip.data.open_data import Kind, open_data
from jaxclip.data.own import is_own
from jaxclip.data.source import Example, Source
from jaxclip.files.plain import is_there
from jaxclip.numerics.arrays import counted
from jaxclip.preprocess import preprocess, unnormalize
from jaxclip.runs.run import Run


def run_source(run: Run, data: str | None = None, split: str | None = None) -> Source:
    """Open the data set that a run's images come from.

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


def run_inputs(
    run: Run, source: Source, config: PreprocessConfig, rows: Sequence[int], *, said: set[str] | None = None
) -> Float[np.ndarray, "batch height width channel"]:
    """Read images of a run again as its image tower takes them.

    Args:
      run: whose images they are.
      source: where they are, of `run_source`.
      config: the preprocessing of the run's model.
      rows: numbers of the images.
      said: warnings that were given already, which are not given again; new ones are added.

    Raises:
      ValueError: another image stands where the run had one, or it cannot be read any more.
    """
    images, apply_exif, said = [], run.info["options"]["apply_exif"], set() if said is None else said
    for row in rows:
        image = _checked(run, source, row).image
        images.append(preprocess(image, config, apply_exif=apply_exif, said=said)[0])
    return np.stack(images)


def run_pictures(
    run: Run, rows: Sequence[int], data: str | None = None, split: str | None = None
) -> list[UInt8[np.ndarray, "height width channel"]]:
    """Read images of a run again as pictures of what its model saw.

    Args:
      run: whose images they are.
      rows: numbers of the images.
      data: where they are, and `split`, as `run_source` takes them.

    Raises:
      ValueError, FileNotFoundError: they are not where they were.
    """
    config = run.config.preprocess
    inputs = run_inputs(run, run_source(run, data, split), config, rows)
    return [unnormalize(image, config) for image in inputs]


def find_image(run: "Run", query: str) -> int | None:
    """Find the number of the image of a run that a query names; None for a file.

    Raises:
      ValueError: neither a file nor one of the run's images, or one that could not be read.
    """
    if query in run.names:
        found = run.names.index(query)
    elif is_there(query):
        return None
    elif query.isascii() and query.isdigit() and int(query) < len(run.names):
        found = int(query)
    else:
        raise ValueError(
            f"{query} is no file and no image of {run.folder.name}; name a file, or an image of the run such as "
            f"{run.names[run.rows[0]]}, or a number from 0 to {len(run.names) - 1}, the row in its images.jsonl."
        )
    if found in run.errors:
        raise ValueError(
            f"image {found} of {run.folder.name}, {run.names[found]}, could not be read ({run.errors[found]}), so "
            f"nothing is known of it; name another."
        )
    return found
