"""PyTorch's zip files, read without PyTorch and without running what their pickles ask for.

A pickle names functions to call. Here a name is looked up in a short table of inert stand-ins, and a name that is not
in it ends the reading: nothing is ever imported or executed.
"""

import io
import pickle
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any

from .tensors import CheckpointError, LazyTensor, as_dtype, span

STORAGES = {
    "DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
    "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
    "ByteStorage": "uint8", "BoolStorage": "bool",
}  # fmt: skip
# zipfile's own error and what escapes it: names that are no text, offsets before the start, encrypted entries, ...
BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, LookupError, RuntimeError,
    OverflowError,
)  # fmt: skip
MAX_DEPTH = 20
MAX_PICKLE = 256 * 2**20
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LOCAL_HEADER = 30  # bytes of a zip entry's own header before its name


class Attributes(dict):
    """Stand-in for any object of a TorchScript archive: its attributes, and no behaviour."""

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, Mapping):
            self.update(state)


class _OrderedDict(dict):
    """Stand-in for OrderedDict; drops the attributes that a state dict carries."""

    def __setstate__(self, state: Any) -> None:
        pass


class _Storage(str):
    """The dtype name of a storage class."""

    __slots__ = ()


def read_archive(path: Path) -> tuple[Any, bool]:
    """The object that a `torch.save` or TorchScript file holds, its tensors unread.

    Returns:
      The object with a `LazyTensor` for each tensor, and whether the file is a TorchScript archive.

    Raises:
      CheckpointError: not such a file, not whole, or its pickle asks for something a checkpoint has no use for.
    """
    with path.open("rb") as file:
        start = file.read(len(LEGACY))
    if start == LEGACY:
        raise CheckpointError(
            f"{path.name} is in PyTorch's format from before 1.6; load it with PyTorch and torch.save it again."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            return _read(path, archive)
    except CheckpointError:
        raise
    except BROKEN_ZIP as error:
        raise CheckpointError(
            f"{path.name} is not a whole PyTorch file ({error}); download it again or save it as safetensors."
        ) from error


def _read(path: Path, archive: zipfile.ZipFile) -> tuple[Any, bool]:
    entries: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        if info.filename in entries:
            raise zipfile.BadZipFile(f"it holds {info.filename} twice")
        entries[info.filename] = info
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise CheckpointError(f"{path.name} is a zip file but not PyTorch's: expected one folder with data.pkl.")
    root = roots[0]
    pickled = entries[f"{root}data.pkl"]
    if pickled.file_size > MAX_PICKLE:
        raise CheckpointError(f"{path.name} has a pickle of {pickled.file_size} bytes; expected names and shapes only.")
    order = archive.read(f"{root}byteorder") if f"{root}byteorder" in entries else b"little"
    if order != b"little":
        raise CheckpointError(f"{path.name} stores {order[:10]!r} numbers; save it again on a little-endian machine.")
    scripted = f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries)
    return _Reader(archive.read(pickled), path, root, entries).load_safely(), scripted


class _Reader(pickle.Unpickler):
    def __init__(self, pickled: bytes, path: Path, root: str, entries: Mapping[str, zipfile.ZipInfo]) -> None:
        super().__init__(io.BytesIO(pickled), encoding="utf-8")
        self._pickled, self._path, self._root, self._entries = pickled, path, root, entries
        self._starts: dict[str, int] = {}

    def load_safely(self) -> Any:
        try:
            _check_memo(self._pickled)
            return self.load()
        except (CheckpointError, zipfile.BadZipFile):
            raise
        except Exception as error:  # A pickle can fail in any way that Python can; all of them mean a broken file.
            raise CheckpointError(f"{self._path.name} has a broken pickle ({error}); download it again.") from error

    def find_class(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        if (module, name) in CLASSES:
            return CLASSES[module, name]
        if (module, name) in FUNCTIONS:
            # A new function each time: a pickle may set attributes of what it is given.
            function = FUNCTIONS[module, name]
            return lambda *args: function(*args)
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if module == "torch" and name in STORAGES.values():
            return None
        if module == "__torch__" or module.startswith("__torch__."):
            return Attributes
        raise CheckpointError(
            f"{self._path.name} asks to run {module}.{name}, which no weights need; it was not run. "
            f"If you trust the file, load it with PyTorch and save its state dict as safetensors."
        )

    def persistent_load(self, pid: Any) -> tuple[LazyTensor, int]:
        """A storage: where its bytes start and how many elements it has."""
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, _Storage) or type(count) is not int or count < 0:
            raise CheckpointError(f"{self._path.name} refers to something that is no tensor storage: {kind!r}.")
        name = f"{self._root}data/{key}"
        info = self._entries.get(name)
        if info is None:
            raise CheckpointError(f"{self._path.name} lacks the tensor data {name!r}; download it again.")
        if info.compress_type != zipfile.ZIP_STORED or count * as_dtype(dtype).itemsize > info.file_size:
            raise CheckpointError(
                f"{self._path.name} stores {info.file_size} bytes (compression {info.compress_type}) where {count} "
                f"uncompressed numbers of {dtype} were promised; download it again."
            )
        return LazyTensor(self._path, self._start(name, info), str(dtype), (count,)), count

    def _start(self, name: str, info: zipfile.ZipInfo) -> int:
        """First byte of an entry's data; only the entry's own header in the file knows how long that header is."""
        if name not in self._starts:
            with self._path.open("rb") as file:
                file.seek(info.header_offset)
                header = file.read(LOCAL_HEADER)
            if len(header) < LOCAL_HEADER or header[:4] != b"PK\x03\x04":
                raise zipfile.BadZipFile(f"no entry starts at byte {info.header_offset}")
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            start = info.header_offset + LOCAL_HEADER + name_length + extra_length
            if start + info.file_size > self._path.stat().st_size:
                raise zipfile.BadZipFile(f"{name} ends after the file does")
            self._starts[name] = start
        return self._starts[name]


def _check_memo(pickled: bytes) -> None:
    """A pickle numbers what it wants to refer to again; a number far beyond its length would only reserve memory."""
    highest = max((arg for op, arg, _ in pickletools.genops(pickled) if op.name in ("PUT", "LONG_BINPUT")), default=0)
    if highest > len(pickled):
        raise ValueError(f"it refers to object {highest}")


def _rebuild_tensor(storage: tuple[LazyTensor, int], offset: int, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    whole, count = storage
    shape, strides = tuple(shape), tuple(strides)
    counts = (offset, *shape, *strides)
    if len(shape) != len(strides) or any(type(n) is not int or n < 0 for n in counts):
        raise CheckpointError(f"{whole.path.name} has a tensor of shape {shape} with strides {strides}.")
    if offset + span(shape, strides) > count or prod(shape) > count:
        raise CheckpointError(f"{whole.path.name} has a tensor that reaches outside its storage; download it again.")
    start = whole.offset + offset * as_dtype(whole.dtype).itemsize
    packed = strides == _row_major(shape)
    return LazyTensor(whole.path, start, whole.dtype, shape, None if packed else strides)


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= max(size, 1)
    return tuple(reversed(steps))


def _same(value: Any = None, *_: Any) -> Any:
    return value


def _nothing(*_: Any) -> None:
    return None


CLASSES: dict[tuple[str, str], type] = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("torch", "Size"): tuple,
    ("builtins", "set"): frozenset,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "complex"): complex,
}
FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    # What an optimizer, a scaler or a training loop leaves beside the weights; none of it is used.
    ("torch", "device"): _nothing,
    ("collections", "defaultdict"): lambda *_: _OrderedDict(),
    ("_codecs", "encode"): _nothing,
    # TorchScript's own way to say "a list of integers" and "this has that type".
    **{("torch.jit._pickle", f"build_{kind}list"): _same for kind in ("int", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): _same,
}


def tensors_of_module(module: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, LazyTensor]]:
    """Tensors of a TorchScript module by their dotted names."""
    if depth > MAX_DEPTH:
        raise CheckpointError(f"its modules are nested more than {MAX_DEPTH} deep; this is no CLIP.")
    for name, value in module.items():
        if isinstance(value, LazyTensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, Attributes):
            yield from tensors_of_module(value, f"{prefix}{name}.", depth + 1)
