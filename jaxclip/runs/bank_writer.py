"""Writing a bank (see `jaxclip.runs.bank`), on any number of hosts: each writes the files of its own parts alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from jaxtyping import Int

from jaxclip.config import VisionConfig
from jaxclip.files.atomic import write_json
from jaxclip.runs.bank import LOST, BankDtype, label_path, named, open_array, row_shapes, store
from jaxclip.runs.order import Order

HELD_BYTES, MOST_ROWS = 2**26, 1024
"""About what waits in memory of the largest array, on all hosts together, and so what its files of a group hold."""


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
        self._out = {name: open_array(folder / name) for name in _arrays(config, kinds, "float32")}
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
            with named(self.folder / name):
                future.result()
        self._writing = []


def _arrays(config: VisionConfig, kinds: Sequence[str], dtype: str) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape of one image's entry, and type, of every array of a bank."""
    numbers = {name: (shape, "float32" if name == "norm" else dtype) for name, shape in row_shapes(config).items()}
    return numbers | {"readable": ((), "bool")} | {label_path(kind): ((), "int32") for kind in kinds}


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
    with named(path):
        ts.open({"driver": "zarr3", "kvstore": store(path), "metadata": metadata}, create=True, open=True).result()
