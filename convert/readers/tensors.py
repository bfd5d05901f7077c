"""Named arrays that stay in their file until they are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import ml_dtypes
import numpy as np

from jaxclip.files.plain import open_plain
from jaxclip.numerics.arrays import counted

FLOATS = {"float16", "bfloat16", "float32", "float64"}


class CheckpointError(ValueError):
    """A checkpoint that cannot be read as what it claims to be, or that does not say enough."""


def as_dtype(name: str) -> np.dtype:
    """Return NumPy's dtype of a name, `bfloat16` included."""
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def quantised(file: str, kind: str) -> CheckpointError:
    """Make the error for numbers of a kind that only quantised weights have, or no weights at all."""
    return CheckpointError(
        f"{file} holds {kind} numbers, and only float32, bfloat16, float16 and float64 weights are read; a quantised "
        f"model has to be saved in one of them first, its scales multiplied in."
    )


@dataclass(frozen=True)
class LazyTensor:
    """An array in a file: where it starts and how it is laid out. Offsets are bytes, strides are elements.

    It is read by seek and read, never by mapping the file, so pages of a file that has been passed do not count as
    memory of the process.
    """

    path: Path
    offset: int
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    def read(self) -> np.ndarray:
        """Read the array, in the dtype of the file, in row-major order.

        Raises:
          CheckpointError: the file ends before the array does.
        """
        dtype = as_dtype(self.dtype)
        try:
            flat = np.empty(span(self.shape, self.strides), dtype)
        except MemoryError as error:
            raise CheckpointError(
                f"{self.path.name} has a tensor of {list(self.shape)}, too large for memory."
            ) from error
        with open_plain(self.path, buffering=0) as file:
            file.seek(self.offset)
            _fill(file, flat, self.path)
        if self.strides is None:
            return flat.reshape(self.shape)
        strides = [step * dtype.itemsize for step in self.strides]
        return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat, self.shape, strides, writeable=False))


def span(shape: Sequence[int], strides: Sequence[int] | None) -> int:
    """Count the elements of storage that an array touches, from its first to its last one."""
    if strides is None or 0 in shape:
        return prod(shape)
    return 1 + sum((size - 1) * step for size, step in zip(shape, strides, strict=True))


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Allocate an array on a 64-byte boundary, uninitialised, so that JAX on the host can use it without a copy."""
    n_bytes = prod(shape) * dtype.itemsize
    raw = np.empty(n_bytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


def _fill(file, flat: np.ndarray, path: Path) -> None:
    view = memoryview(flat.view(np.uint8).data).cast("B") if flat.size else memoryview(b"")
    done = 0
    while done < len(view):
        count = file.readinto(view[done:])
        if not count:
            raise CheckpointError(
                f"{path.name} ends {counted(len(view) - done, 'byte')} before its tensors do; download it again."
            )
        done += count
