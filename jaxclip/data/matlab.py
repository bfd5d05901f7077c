"""MATLAB's files, version 5, once it is sure that they are no larger than they look.

SciPy makes room for what a file declares before it reads what is there, so sizes are compared first: an array of cells
or structures takes at least eight bytes of the file for each of them.
"""

import io
import struct
import zlib
from math import prod
from pathlib import Path
from typing import Any

from jaxclip.files.plain import is_there, read_bytes
from jaxclip.numerics.arrays import counted

MAX_FILE, MAX_INSIDE = 2**24, 2**26  # bytes, as stored and unpacked; ImageNet's meta.mat takes a quarter of a million
MATRIX, COMPRESSED = 14, 15
OF_OBJECTS = {1, 2, 3, 17}  # cells, structures, objects, opaque objects
HEADER, TAG, MAX_DEPTH = 128, 8, 8


def read_matlab(path: Path, name: str) -> Any:
    """One variable of a file, as SciPy has it with single dimensions taken out.

    Raises:
      ValueError: no such file of version 5, or none that holds the variable.
    """
    from scipy.io import loadmat  # comes with JAX

    is_there(path)
    size = path.stat().st_size
    if size > MAX_FILE:
        raise ValueError(f"{path} takes {size} bytes; expected a short MATLAB file.")
    try:
        whole = _unpacked(read_bytes(path, MAX_FILE))
        _check(memoryview(whole)[HEADER:], 0)
        return loadmat(io.BytesIO(whole), squeeze_me=True, variable_names=[name])[name]
    except Exception as error:  # SciPy's parser raises whatever comes up
        raise ValueError(f"{path} is no MATLAB file of version 5 with {name} ({error!s:.200}).") from error


def _unpacked(data: bytes) -> bytes:
    """The file with its compressed variables written out."""
    if data[126:128] != b"IM" or data[124:126] != b"\x00\x01":
        raise ValueError("it does not begin as one")
    parts, at, total = [data[:HEADER]], HEADER, 0
    while at + TAG <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        part = data[at : at + TAG + length]
        if kind == COMPRESSED:
            part = zlib.decompressobj().decompress(part[TAG:], MAX_INSIDE - total + 1)
        total += len(part)
        if total > MAX_INSIDE:
            raise ValueError(f"it unpacks to more than {MAX_INSIDE} bytes")
        parts.append(part)
        at += TAG + length
    return b"".join(parts)


def _check(data: memoryview, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"its arrays are nested more than {MAX_DEPTH} deep")
    for kind, content in _elements(data):
        if kind == MATRIX and len(content):
            inside = list(_elements(content))
            if len(inside) < 2 or len(inside[0][1]) < 8:
                raise ValueError("it holds an array without a size")
            dims = struct.unpack(f"<{len(inside[1][1]) // 4}i", inside[1][1][: len(inside[1][1]) // 4 * 4])
            if min(dims, default=0) < 0 or (inside[0][1][0] in OF_OBJECTS and prod(dims) > len(content) // TAG):
                raise ValueError(f"it declares an array of {dims} in {counted(len(content), 'byte')}")
            _check(content, depth + 1)


def _elements(data: memoryview) -> list[tuple[int, memoryview]]:
    """Kinds and contents of what stands one after the other."""
    found, at = [], 0
    while at + TAG <= len(data):
        kind, length = struct.unpack_from("<II", data, at)
        if kind >> 16:  # four bytes or fewer stand in the tag itself
            found.append((kind & 0xFFFF, data[at + 4 : at + 4 + min(kind >> 16, 4)]))
            at += TAG
            continue
        if at + TAG + length > len(data):
            raise ValueError("an array ends after the file does")
        found.append((kind, data[at + TAG : at + TAG + length]))
        at += TAG + length + (-length % TAG if kind not in (COMPRESSED, MATRIX) else 0)
    return found
