"""Arrays in files of NumPy's that somebody else wrote: room is made for what a file has, not for what it declares."""

import os
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxclip.files.plain import open_plain
from jaxclip.numerics.arrays import counted


def read_array(path: Path) -> np.ndarray:
    """Read the array in a .npy file.

    Raises:
      OSError: it cannot be opened.
      ValueError: it is no regular file, no such array, one of objects, or larger than its file; and whatever else NumPy
        raises, which parses the header as Python.
    """
    with open_plain(path) as file:
        _check_size(file)
        file.seek(0)
        return np.lib.format.read_array(file, allow_pickle=False)


def _check_size(file: BinaryIO) -> None:
    version = np.lib.format.read_magic(file)
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in headers:
        raise ValueError(f"it is of version {version} of NumPy's format; save it again with numpy.save")
    shape, _, dtype = headers[version](file)
    held = os.fstat(file.fileno()).st_size - file.tell()
    if min(shape, default=0) < 0 or prod(shape) * dtype.itemsize > held:
        raise ValueError(f"it declares {dtype} {list(shape)} and has {counted(held, 'byte')}")
