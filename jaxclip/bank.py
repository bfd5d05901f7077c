"""A bank: what every image of a pass leaves behind, in zarr, one row an image in the data's order.

    heads [image, layer, head, unit]   u, see `jaxclip.heads`; u @ matrices[layer, head] is the contribution
    mlp, class_attn [image, layer, embed]      init, embedding [image, embed]
    norm [image]   of the embedding before anything was divided by it
    readable [image]   False where the image could not be read; its rows are NaN
    labels/KIND [image]   indices, -1 where there is none, -2 where a block is lost

Files hold a block of images each (`jaxclip.data.order`), and in them one piece a layer and head: one head of all images
is read without the others. A file is written by one host alone, which computed all of its rows. Writing a row again
changes nothing. Any zarr 3 reader opens the folder; paths stand in images.jsonl beside it.
Every block and piece carries its own checksum (CRC-32C), which is compared whenever it is read.
"""

import errno
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import tensorstore as ts
from jaxtyping import Float, Int

from jaxclip.config import VisionConfig
from jaxclip.data.order import Order
from jaxclip.drafts import write_json

LOST = -2
"""What a label reads as where its block is not there."""
BankDtype = Literal["float32", "float16"]
HELD_BYTES, MOST_ROWS = 2**26, 1024
"""About what waits in memory of the largest array, on all hosts together, and so what its files of a group hold."""

_CODES = {os.strerror(code): code for code in errno.errorcode}


def row_shapes(config: VisionConfig) -> dict[str, tuple[int, ...]]:
    """Shape of one image's entry in every array of numbers."""
    layers, embed = config.n_layers, config.embed_dim
    return {
        "heads": (layers, config.n_heads, config.head_dim + 3), "mlp": (layers, embed), "class_attn": (layers, embed),
        "init": (embed,), "embedding": (embed,), "norm": (),
    }  # fmt: skip


def steps_held(config: VisionConfig, batch: int) -> int:
    """Steps whose rows may wait in memory to be written together."""
    row = 4 * max(int(np.prod(shape)) for shape in row_shapes(config).values())
    return max(1, min(MOST_ROWS, HELD_BYTES // row) // batch)


def create_bank(folder: Path, config: VisionConfig, order: Order, kinds: Sequence[str], dtype: BankDtype) -> None:
    """Empty arrays, or those that are there already, for `BankWriter`s on any number of hosts."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {}})
    for name, (shape, kind) in _arrays(config, kinds, dtype).items():
        _create(folder / name, (order.n, *shape), kind, order.block)


class BankWriter:
    """Rows of a host's own parts in, its own files out; at most a group of steps waits in memory."""

    def __init__(
        self, folder: Path, order: Order, share: range, config: VisionConfig, kinds: Sequence[str], start: int
    ):
        self.folder, self.order, self.share = folder, order, share
        self._out = {name: _open(folder / name) for name in _arrays(config, kinds, "float32")}
        self._held: dict[str, np.ndarray] = {}
        self._step, self._written = start, start
        self._writing: list[tuple[str, Any]] = []

    def add(self, rows: Int[np.ndarray, "place"], values: Mapping[str, np.ndarray]) -> None:
        """What the next step found.

        Args:
          rows: numbers of its images, -1 for padding.
          values: of the same places, for every array.

        Raises:
          ValueError: a number is too large for float16.
        """
        if not self._held:
            n = len(self.share) * self.order.block
            self._held = {
                name: np.zeros((n, *array.shape[1:]), array.dtype.numpy_dtype) for name, array in self._out.items()
            }
        real = rows >= 0
        places = rows[real] - self._first(self._step, self.share.start)
        for name, value in values.items():
            self._held[name][places] = self._cast(name, value[real], values["readable"][real])
        self._step += 1
        if self._step % self.order.steps == 0:
            self._write()

    def flush(self) -> None:
        """All rows so far are on the disk when this returns."""
        self._write()
        self._wait()

    def _first(self, step: int, part: int) -> int:
        return step // self.order.steps * self.order.group + part * self.order.block

    def _cast(self, name: str, values: np.ndarray, readable: np.ndarray) -> np.ndarray:
        dtype = self._out[name].dtype.numpy_dtype
        if not np.issubdtype(values.dtype, np.floating):
            return values.astype(dtype)
        with np.errstate(over="ignore"):
            cast = values.astype(dtype)
        if not np.isfinite(cast[readable]).all():
            raise ValueError(f"{name} holds numbers too large for float16; pass bank_dtype float32.")
        cast[~readable] = np.nan
        return cast

    def _write(self) -> None:
        """What was added since the last time: all of it in one group, and of each part one run of rows."""
        if self._step == self._written:
            return
        self._wait()
        begin, per = self._written % self.order.steps, self.order.per_part
        end = begin + self._step - self._written
        own = self._first(self._written, self.share.start)
        for part in self.share:
            first = self._first(self._written, part)
            rows = slice(first + begin * per, min(first + end * per, self.order.n))
            if rows.start < rows.stop:
                held = slice(rows.start - own, rows.stop - own)
                self._writing += [
                    (name, self._out[name][rows].write(values[held])) for name, values in self._held.items()
                ]
        self._written = self._step
        if self._step % self.order.steps == 0:
            self._held = {}  # not used again: these may still be on their way to the disk

    def _wait(self) -> None:
        for name, future in self._writing:
            with _named(self.folder / name):
                future.result()
        self._writing = []


class Bank:
    """A bank of a finished run. Reading gives the images that could be read, in the data's order, in float32.

    Args:
      folder: of the bank.
      check: of a run, called with the name there of an array's metadata before it is believed.
      shapes: that arrays must have; room is made for what metadata says before anything is read.
      block: rows that each of their files must have, likewise.

    Attributes:
      rows: which images of the data set those are.
    """

    def __init__(
        self,
        folder: str | Path,
        check: Callable[[str], None] = lambda name: None,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
        block: int | None = None,
    ):
        self.folder, self._check, self._shapes, self._block = Path(folder), check, dict(shapes or {}), block
        if not (self.folder / "zarr.json").is_file():
            raise FileNotFoundError(f"{self.folder} is no bank; run `jaxclip run` with --bank.")
        check(f"{self.folder.name}/zarr.json")
        self.rows = np.flatnonzero(self._get("readable", ()))

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Bank({str(self.folder)!r}: {len(self)} images)"

    def head(self, layer: int, head: int) -> Float[np.ndarray, "image unit"]:
        """u of one head; nothing else is read."""
        _, n_layers, n_heads, _ = self.array("heads").shape
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ValueError(f"the model has layers 0 to {n_layers - 1} of {n_heads} heads; got head {layer}.{head}.")
        return self._numbers("heads", (layer, head))

    def read(self, name: str, rows: Int[np.ndarray, "image"] | slice = slice(None)) -> Float[np.ndarray, "image ..."]:
        """A whole array of numbers ("heads", "mlp", "class_attn", "init", "embedding" or "norm"), or rows of it.

        Args:
          name: of the array.
          rows: among the images that could be read.
        """
        return self._numbers(name, (), rows)

    def labels(self, kind: str) -> Int[np.ndarray, "image"]:
        """Indices of one kind of label, -1 where an image has none."""
        found = self._get(label_path(kind), ())[self.rows]
        if lost := int((found == LOST).sum()):
            raise ValueError(_cut_short(self.folder / label_path(kind), lost))
        return found

    def array(self, name: str) -> Any:
        """The array itself, for reading in pieces with tensorstore; it has rows of unreadable images too."""
        path = self.folder / name
        if not path.is_dir():
            there = sorted(p.name for p in self.folder.iterdir() if p.is_dir())
            raise ValueError(f"{self.folder} has no array {name!r}; it has {', '.join(there)}.")
        self._check(f"{self.folder.name}/{name}/zarr.json")
        with _named(path):
            array = _open(path)
        wanted = self._shapes.get(name)
        if wanted is not None and wanted != array.shape:
            raise ValueError(
                f"{path} is of shape {list(array.shape)}, the run's is {list(wanted)}. Run the pass again."
            )
        held, piece = array.chunk_layout.write_chunk.shape, (self._block, *array.shape[1:])
        if self._block is not None and held != piece:
            raise ValueError(f"{path} has files of {list(held)}, the run's are of {list(piece)}. Run the pass again.")
        return array

    def _numbers(self, name: str, at: tuple[int, ...], rows: Any = slice(None)) -> np.ndarray:
        values = self._get(name, at, self.rows[rows]).astype(np.float32)
        if not np.isfinite(values).all():
            lost = int((~np.isfinite(values.reshape(len(values), -1)).all(1)).sum())
            raise ValueError(_cut_short(self.folder / name, lost))
        return values

    def _get(self, name: str, at: tuple[int, ...], rows: Any = None) -> np.ndarray:
        array = self.array(name)
        if rows is None:
            rows = slice(None)
        elif len(rows) and rows[-1] - rows[0] + 1 == len(rows):
            rows = slice(int(rows[0]), int(rows[-1]) + 1)
        with _named(self.folder / name):
            return np.asarray(array[(rows, *at)].read().result())


@contextmanager
def _named(path: Path) -> Iterator[None]:
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


def _cut_short(path: Path, lost: int) -> str:
    return f"{path} is cut short: {lost} images are missing; delete the run and make it again."


def label_path(kind: str) -> str:
    """Where labels of a kind lie; a kind may be called anything, and neither "" nor ".." is another folder."""
    name = quote(kind, safe="")
    return f"labels/{name if name.strip('.') else name.replace('.', '%2E') or '%'}"


def _arrays(config: VisionConfig, kinds: Sequence[str], dtype: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of one image's entry, and type, of every array of a bank."""
    numbers = {name: (shape, "float32" if name == "norm" else dtype) for name, shape in row_shapes(config).items()}
    return numbers | {"readable": ((), "bool")} | {label_path(kind): ((), "int32") for kind in kinds}


def _open(path: Path) -> Any:
    return ts.open({"driver": "zarr3", "kvstore": _store(path)}).result()


def _store(path: Path) -> dict[str, str]:
    """Where tensorstore finds an array; it refuses paths with ".." in them."""
    return {"driver": "file", "path": str(path.resolve())}


def _create(path: Path, shape: tuple[int, ...], dtype: str, block: int) -> None:
    whole = [block, *shape[1:]]
    # Images, then single layers and heads, then the vector.
    piece = [block, *[1] * (len(shape) - 2), *shape[-1:]] if len(shape) > 1 else [block]
    numbers = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    if dtype == "bool":
        numbers = [{"name": "bytes"}, {"name": "crc32c"}]
    index = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}]
    sharding = {"chunk_shape": piece, "codecs": numbers, "index_codecs": index}
    codecs = numbers if piece == whole else [{"name": "sharding_indexed", "configuration": sharding}]
    metadata = {
        "shape": list(shape), "data_type": dtype, "codecs": codecs,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": whole}},
        "fill_value": {"bool": False, "int32": LOST}.get(dtype, "NaN"),
    }  # fmt: skip
    with _named(path):
        ts.open({"driver": "zarr3", "kvstore": _store(path), "metadata": metadata}, create=True, open=True).result()
