"""safetensors files: the header is checked in full before a byte of any tensor is read."""

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor, as_dtype, quantised
from jaxclip.files.plain import open_plain
from jaxclip.files.strict_json import parse_json
from jaxclip.files.whole import replaced
from jaxclip.numerics.arrays import counted

DTYPES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16",
    "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8", "BOOL": "bool",
}  # fmt: skip
UNREAD = {
    "F4": "float4", "F6_E2M3": "float6", "F6_E3M2": "float6", "F8_E4M3": "float8 (F8_E4M3)",
    "F8_E5M2": "float8 (F8_E5M2)", "F8_E8M0": "float8 (F8_E8M0)", "F8_E4M3FNUZ": "float8 (F8_E4M3FNUZ)",
    "F8_E5M2FNUZ": "float8 (F8_E5M2FNUZ)", "U16": "uint16", "U32": "uint32", "U64": "uint64", "C64": "complex",
}  # fmt: skip
"""What the format knows beside these: packed or quantised numbers, and those that no network has."""
MAX_AXES, MAX_COUNT = 16, 2**63
MAX_HEADER = 16 * 2**20  # bytes; the largest CLIPs take a few hundred kB, and parsed JSON ten times its length


def open_safetensors(path: Path) -> dict[str, LazyTensor]:
    """List every tensor of a safetensors file, unread.

    Raises:
      CheckpointError: the header does not describe the file: wrong length, unknown dtype, tensors that overlap, leave
        holes or end outside the file.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER):
            raise _broken(path, f"its header would be {length} bytes in a file of {size}")
        text = file.read(length)
    tensors = {name: _tensor(path, name, fields, 8 + length) for name, fields in _parse(path, text).items()}
    _check_layout(path, tensors, 8 + length, size)
    return tensors


def write_safetensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write a safetensors file that PyTorch's readers take too; the inverse of `open_safetensors`."""
    codes = {name: code for code, name in DTYPES.items()}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, array in tensors.items():
        header[name] = {
            "dtype": codes[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + array.nbytes],
        }
        at += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replaced(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for array in tensors.values():
            file.write(np.ascontiguousarray(array).tobytes())


def _parse(path: Path, text: bytes) -> dict[str, Any]:
    try:
        header = parse_json(text)
    except ValueError as error:
        raise _broken(path, f"its header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _broken(path, "its header is not a table of tensors")
    header.pop("__metadata__", None)
    return header


def _tensor(path: Path, name: str, fields: Any, start: int) -> LazyTensor:
    try:
        dtype, shape, (begin, end) = fields["dtype"], tuple(fields["shape"]), fields["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"{name[:80]!r} lacks dtype, shape or data_offsets") from error
    if isinstance(dtype, str) and dtype in UNREAD:
        raise quantised(path.name, UNREAD[dtype])
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _broken(path, f"{name[:80]!r} has dtype {str(dtype)[:80]!r}; known are {', '.join(DTYPES)}")
    if len(shape) > MAX_AXES:
        raise _broken(path, f"{name[:80]!r} has {len(shape)} axes")
    if not all(type(n) is int and 0 <= n < MAX_COUNT for n in (*shape, begin, end)):
        raise _broken(path, f"{name[:80]!r} has a shape or offsets that are not counts")
    if end - begin != prod(shape) * as_dtype(DTYPES[dtype]).itemsize:
        raise _broken(
            path, f"{name[:80]!r} of shape {list(shape)} and dtype {dtype} cannot take {counted(end - begin, 'byte')}"
        )
    return LazyTensor(path, start + begin, DTYPES[dtype], shape)


def _check_layout(path: Path, tensors: dict[str, LazyTensor], start: int, size: int) -> None:
    """Refuse tensors that do not tile the rest of the file exactly, as the format demands."""
    at = start
    for name, tensor in sorted(tensors.items(), key=lambda item: (item[1].offset, prod(item[1].shape))):
        if tensor.offset != at:
            raise _broken(path, f"{name[:80]!r} {'overlaps its neighbour' if tensor.offset < at else 'leaves a hole'}")
        at += prod(tensor.shape) * as_dtype(tensor.dtype).itemsize
    if at != size:
        raise _broken(path, f"its tensors end at byte {at} of a file of {size}")


def _broken(path: Path, why: str) -> CheckpointError:
    return CheckpointError(f"{path.name} is not a whole safetensors file: {why}. Download or save it again.")
