"""A bank: what every image of a pass leaves behind, in zarr, one row an image in the data's order.

    heads [image, layer, head, unit]   u, see `jaxclip.model.head_coordinates`; u @ matrices[layer, head] is the
    contribution mlp, class_attn [image, layer, embed]      init, embedding [image, embed]
    norm [image]   of the embedding before anything was divided by it
    readable [image]   False where the image could not be read; its rows are NaN, its labels what they are
    labels/KIND [image]   indices, -1 where there is none, -2 where a block is lost

Files hold a block of images each (`jaxclip.runs.order`), and in them one piece a layer and head: one head of all images
is read without the others. A file is written by one host alone, which computed all of its rows. Writing a row again
changes nothing. Any zarr 3 reader opens the folder; paths stand in images.jsonl beside it.
Every block and piece carries its own checksum (CRC-32C), which is compared whenever it is read.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import tensorstore as ts
from jaxtyping import Float, Int

from jaxclip.config import VisionConfig
from jaxclip.data.source import UNLABELLED
from jaxclip.files.plain import is_there
from jaxclip.model.head_coordinates import unit_size
from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import counted

LOST = -2
"""What a label reads as where its block is not there."""
BankDtype = Literal["float32", "float16"]

_CODES = {os.strerror(code): code for code in errno.errorcode}


def row_shapes(config: VisionConfig) -> dict[str, tuple[int, ...]]:
    """Shape of one image's entry in every array of numbers."""
    layers, embed = config.n_layers, config.embed_dim
    return {
        "heads": (layers, config.n_heads, unit_size(config.head_dim)), "mlp": (layers, embed), "class_attn": (layers,
        embed), "init": (embed,), "embedding": (embed,), "norm": (),
    }  # fmt: skip


class Bank:
    """A bank of a run. Every array has one row for every image of the data, by the image's number, in float32.

    The rows of images that could not be read are NaN; `rows` leaves them out.

    Args:
      folder: of the bank.
      check: of a run, called with the name there of an array's metadata before it is believed.
      shapes: that arrays must have; room is made for what metadata says before anything is read.
      block: rows that each of their files must have, likewise.

    Attributes:
      rows: numbers of the images that could be read.
      seen: numbers of all images that the pass came to.
    """

    def __init__(
        self,
        folder: str | Path,
        check: Callable[[str], None] = lambda name: None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        block: int | None = None,
    ):
        self.folder, self._check, self._shapes, self._block = Path(folder), check, dict(shapes or {}), block
        if not is_there(self.folder / "zarr.json"):
            raise FileNotFoundError(f"{self.folder} is no bank; run `jaxclip run` with --bank.")
        check(f"{self.folder.name}/zarr.json")
        self.seen, self.rows = self._found()

    def __len__(self) -> int:
        """Images of the data, read or not; of an unfinished pass, up to the last that it has come to."""
        return int(self.seen[-1]) + 1 if len(self.seen) else 0

    def __repr__(self) -> str:
        return f"Bank({str(self.folder)!r}: {counted(len(self.rows), 'image')})"

    def head(self, layer: int, head: int) -> Float[np.ndarray, "image unit"]:
        """u of one head; nothing else is read."""
        _, n_layers, n_heads, _ = self.array("heads").shape
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ValueError(
                f"the model has layers 0 to {n_layers - 1} of {counted(n_heads, 'head')}; got head "
                f"{head_name(layer, head)}."
            )
        return self._numbers("heads", (layer, head), slice(None))

    def read(self, name: str, rows: Int[np.ndarray, "image"] | slice = slice(None)) -> Float[np.ndarray, "image ..."]:
        """A whole array of numbers ("heads", "mlp", "class_attn", "init", "embedding" or "norm"), or rows of it.

        Args:
          name: of the array.
          rows: numbers of images, all by default.

        Raises:
          ValueError: there is no such image or no such array, or the bank is damaged.
        """
        return self._numbers(name, (), rows)

    def labels(self, kind: str) -> Int[np.ndarray, "image"]:
        """Indices of one kind of label of every image of the data, read or not, -1 where it has none."""
        found = np.full(len(self), UNLABELLED, np.int32)
        found[self.seen] = self._get(label_path(kind), (), self.seen)
        if lost := int((found[self.rows] == LOST).sum()):
            raise ValueError(_cut_short(self.folder / label_path(kind), lost))
        return np.where(found == LOST, UNLABELLED, found)

    def array(self, name: str) -> Any:
        """The array itself, for reading in pieces with tensorstore; row N is image N."""
        path = self.folder / name
        if not path.is_dir():
            there = sorted(p.name for p in self.folder.iterdir() if p.is_dir())
            raise ValueError(f"{self.folder} has no array {name!r}; it has {', '.join(there)}.")
        is_there(path / "zarr.json")  # and no pipe, which tensorstore would wait for
        self._check(f"{self.folder.name}/{name}/zarr.json")
        with named(path):
            array = open_array(path)
        wanted = self._shapes.get(name)
        if wanted is not None and wanted != array.shape:
            raise ValueError(
                f"{path} is of shape {list(array.shape)}, the run's is {list(wanted)}. Run the pass again."
            )
        held, piece = array.chunk_layout.write_chunk.shape, (self._block, *array.shape[1:])
        if self._block is not None and held != piece:
            raise ValueError(f"{path} has files of {list(held)}, the run's are of {list(piece)}. Run the pass again.")
        return array

    def _numbers(self, name: str, at: tuple[int, ...], rows: Any) -> np.ndarray:
        try:
            wanted = np.arange(len(self))[rows]
        except IndexError as error:
            raise ValueError(f"{self.folder} has images 0 to {len(self) - 1}; {error}.") from error
        there = np.isin(wanted, self.rows)
        values = self._get(name, at, wanted[there]).astype(np.float32)
        if not np.isfinite(values).all():
            lost = int((~np.isfinite(values.reshape(len(values), -1)).all(1)).sum())
            raise ValueError(_cut_short(self.folder / name, lost))
        if there.all():
            return values
        whole = np.full((len(wanted), *values.shape[1:]), np.nan, np.float32)
        whole[there] = values
        return whole

    def _get(self, name: str, at: tuple[int, ...], rows: Int[np.ndarray, "image"]) -> np.ndarray:
        array = self.array(name)
        blocks = rows // _block(array)
        gone = [block for block in np.unique(blocks).tolist() if not self._is_stored(array, name, block)]
        if gone:
            raise ValueError(_cut_short(self.folder / name, int(np.isin(blocks, gone).sum())))
        whole = len(rows) and bool((np.diff(rows) == 1).all())
        with named(self.folder / name):
            return np.asarray(array[(slice(int(rows[0]), int(rows[-1]) + 1) if whole else rows, *at)].read().result())

    def _found(self) -> tuple[Int[np.ndarray, "seen"], Int[np.ndarray, "readable"]]:
        array, seen, readable = self.array("readable"), [np.zeros(0, int)], [np.zeros(0, int)]
        numbers = sorted(int(file.name) for file in (self.folder / "readable" / "c").glob("*") if file.name.isdecimal())
        for first in (number * _block(array) for number in numbers if self._is_stored(array, "readable", number)):
            rows = slice(first, min(first + _block(array), array.shape[0]))
            if rows.start < rows.stop:
                with named(self.folder / "readable"):
                    readable.append(first + np.flatnonzero(array[rows].read().result()))
                seen.append(np.arange(rows.start, rows.stop))
        return np.concatenate(seen), np.concatenate(readable)

    def _is_stored(self, array: Any, name: str, block: int) -> bool:
        """Whether a block is on the disk, in full size. What is stored nowhere has a value all the same, and what is
        packed could have any, so room is made only for what takes as much there."""
        file = self.folder.joinpath(name, "c", str(block), *["0"] * (array.rank - 1))
        if not is_there(file):
            return False
        size = prod(array.chunk_layout.write_chunk.shape) * array.dtype.numpy_dtype.itemsize
        if (held := file.stat().st_size) < size:
            raise ValueError(
                f"{file} is damaged (it has {counted(held, 'byte')} for {size} of numbers); delete the run and make "
                f"it again."
            )
        return True


@contextmanager
def named(path: Path) -> Iterator[None]:
    """What tensorstore says of a file, in a sentence that names it.

    Raises:
      OSError: the system refused; tensorstore has its words, and a ValueError for that too.
      ValueError: the file is not what was written.
    """
    try:
        yield
    except ValueError as error:
        # DATA_LOSS: Error reading shard entry .. in local file "..": Digest mismatch, .. [its own notes]
        # UNKNOWN: Error writing local file "..": Failed writing: ..: Input/output error [its own notes]
        # and in older versions: .. Failed to write to file [OS error 5: EIO Input/output error] [its own notes]
        said = re.sub(r" \[OS error \d+: (?:E[A-Z0-9]+ )?([^]]*)\]", r": \1", str(error)).split(" [")[0]
        found = re.search(r'local file "([^"]+)"', said)
        file, reason = found[1] if found else str(path), said.rsplit('": ', 1)[-1]
        if code := _CODES.get(reason.rsplit(": ", 1)[-1]):
            raise OSError(code, os.strerror(code), file) from error
        raise ValueError(f"{file} is damaged ({reason}); delete the run and make it again.") from error


def _block(array: Any) -> int:
    """Rows of one file."""
    return array.chunk_layout.write_chunk.shape[0]


def _cut_short(path: Path, lost: int) -> str:
    are = "is" if lost == 1 else "are"
    return f"{path} is cut short: {counted(lost, 'image')} {are} missing; delete the run and make it again."


def label_path(kind: str) -> str:
    """Where labels of a kind lie; a kind may be called anything, and neither "" nor ".." is another folder."""
    name = quote(kind, safe="")
    return f"labels/{name if name.strip('.') else name.replace('.', '%2E') or '%'}"


def open_array(path: Path) -> Any:
    """An array that is there, by tensorstore."""
    return ts.open({"driver": "zarr3", "kvstore": store(path)}).result()


def store(path: Path) -> dict[str, str]:
    """Where tensorstore finds an array; it refuses paths with ".." in them."""
    return {"driver": "file", "path": str(path.resolve())}
