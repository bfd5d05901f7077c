"""images.jsonl of a run: a line for every image that was seen, with its name and labels, or why it could not be read.

`row` is the image's number, from 0 in the data's order: the one number it has anywhere (see `jaxclip.runs.run.Run`).

    {"row": 3, "name": "dogs/4.jpg", "labels": {"place": 0}}
    {"row": 4, "name": "dogs/5.jpg", "labels": {"place": -1}, "error": "not an image"}

While a pass goes on they stand in images.part.jsonl in the order they were read.
"""

import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from jaxclip.files.plain import is_there, read_bytes
from jaxclip.files.strict_json import parse_json
from jaxclip.files.whole import append, replaced
from jaxclip.numerics.arrays import counted
from jaxclip.runs.folder import IMAGES, LINES, damaged

MOST_AHEAD = 2**24
"""Numbers that an unfinished pass may have left out on the way to its last image; room is made for all of them."""


class ImageLines:
    """The lines of images.jsonl in the order they are made; what lies behind the saved state is cut off.

    Args:
      folder: of the run.
      n_bytes: that the saved state counts.
      said: their SHA-256, if there is a state.

    Raises:
      ValueError: the file is shorter than that, or another one.
    """

    def __init__(self, folder: Path, n_bytes: int, said: str | None):
        self.folder, path = folder, folder / LINES
        held = read_bytes(path)[:n_bytes] if is_there(path) else b""
        if len(held) < n_bytes:
            raise ValueError(f"{path} was cut short; delete {folder} and run it again.")
        self._digest = hashlib.sha256(held)
        if said is not None and self._digest.hexdigest() != said:
            raise ValueError(damaged(folder, LINES))
        # A file of its own, whatever lay there: what follows is written to it in place.
        with replaced(path) as file:
            file.write(held)
        self._file, self.n_bytes = io.BufferedWriter(append(path)), n_bytes

    def add(self, line: bytes) -> None:
        self._file.write(line)
        self._digest.update(line)
        self.n_bytes += len(line)

    def sync(self) -> str:
        """All lines so far are on the disk when this returns; their SHA-256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._digest.hexdigest()

    def put_in_order(self) -> str:
        """Write images.jsonl itself, in the data's order; its SHA-256."""
        self.sync()
        lines = read_bytes(self.folder / LINES).splitlines(keepends=True)
        text = b"".join(sorted(lines, key=_row))
        with replaced(self.folder / IMAGES) as file:
            file.write(text)
        return hashlib.sha256(text).hexdigest()

    def close(self) -> None:
        self._file.close()


def read_image_lines(
    text: bytes, n_images: int, n_seen: int, label_names: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """The lines of a list in the data's order.

    Args:
      text: of the file.
      n_images: of the data.
      n_seen: lines there have to be.
      label_names: kind -> names of its values.

    Raises:
      ValueError: it is no such list.
    """
    lines = [_parsed(line) for line in text.splitlines()]
    if len(lines) != n_seen:
        raise ValueError(f"it has {counted(len(lines), 'line')}, the run has seen {counted(n_seen, 'image')}")
    for line in lines:
        if not _is_line(line, n_images, label_names):
            raise ValueError(f"a line is {json.dumps(line):.100}")
    lines.sort(key=lambda line: line["row"])
    if any(one["row"] == other["row"] for one, other in pairwise(lines)):
        raise ValueError("an image stands there twice")
    if lines and lines[-1]["row"] >= n_seen + MOST_AHEAD:
        raise ValueError(f"its last image is number {lines[-1]['row']} of {n_seen} that were seen")
    return lines


def _row(line: bytes) -> int:
    try:
        row = _parsed(line)["row"]
        if type(row) is int:
            return row
    except (ValueError, LookupError, TypeError):
        pass
    raise ValueError(f"{LINES} is damaged: a line of it is {line[:100]!r}; delete the run and make it again.")


def _parsed(line: bytes) -> Any:
    return parse_json(line, halves=True)


def _is_line(line: Any, n_images: int, label_names: Mapping[str, Sequence[str]]) -> bool:
    if not isinstance(line, dict) or not {"row", "name", "labels"} <= line.keys() <= {"row", "name", "labels", "error"}:
        return False
    row, labels = line["row"], line["labels"]
    return (
        type(row) is int
        and 0 <= row < n_images
        and isinstance(line["name"], str)
        and isinstance(line.get("error", ""), str)
        and isinstance(labels, dict)
        and all(type(labels.get(kind)) is int and -1 <= labels[kind] < len(some) for kind, some in label_names.items())
    )
