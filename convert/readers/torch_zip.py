"""PyTorch's zip files, read without PyTorch and without running what their pickles ask for.

A pickle names functions to call. Here a name is looked up in a short table of inert stand-ins, and a call of one that
is not in it ends the reading: nothing is ever imported or executed. A training run's own objects, its arguments say,
are read as empty ones.
"""

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import Any

from jaxclip.convert.readers.tensors import CheckpointError, LazyTensor, as_dtype, quantised, span
from jaxclip.convert.readers.unpickle import Attributes, Refused, StandIn, Unknown, Unpickler
from jaxclip.files.plain import open_plain, opened
from jaxclip.numerics.arrays import counted

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
MAX_MEMBERS = 1_000_000
MAX_PICKLE = 64 * 2**20
MAX_DIRECTORY = 64 * 2**20  # bytes of a zip file's list of entries
MAX_AXES = 16
MAX_COUNT = 2**63
MAX_WORD = 16
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
LOCAL_HEADER = 30  # bytes of a zip entry's own header before its name


class _Storage(str):
    """The dtype name of a storage class."""

    __slots__ = ()


UNTYPED = "torch.storage.UntypedStorage"
UNREAD = re.compile(r"float[48]_\w+|uint(16|32|64)|q?u?int[1-7]|qu?int\d+(x\d+)?|QU?Int\w+Storage|bits\w+")


def read_archive(path: Path) -> tuple[Any, bool]:
    """Read the object that a `torch.save` or TorchScript file holds, its tensors unread.

    Returns:
      The object with a `LazyTensor` for each tensor, and whether the file is a TorchScript archive.

    Raises:
      CheckpointError: not such a file, not whole, or its pickle asks for something a checkpoint has no use for.
    """
    with open_plain(path) as file:
        start = file.read(len(LEGACY))
    if start == LEGACY:
        raise CheckpointError(
            f"{path.name} is in PyTorch's format from before 1.6; load it with PyTorch and torch.save it again: "
            f"torch.save(torch.load({path.name!r}), 'weights.pt')."
        )
    try:
        with _Bounded(path, opener=opened) as file, zipfile.ZipFile(file) as archive:
            return _read(path, archive)
    except CheckpointError:
        raise
    except BROKEN_ZIP as error:
        raise CheckpointError(
            f"{path.name} is not a whole PyTorch file ({error!s:.200}); download it again or save it as safetensors."
        ) from error


class _Bounded(io.FileIO):
    """A file that gives no more at once than a list of entries may take: zipfile takes all that the file promises."""

    def read(self, size: int | None = -1) -> bytes:
        at = self.tell()
        left = self.seek(0, io.SEEK_END) - at
        self.seek(at)
        size = left if size is None or size < 0 else min(size, left)
        if size > MAX_DIRECTORY:
            raise zipfile.BadZipFile(f"its list of entries would take {size} bytes")
        return super().read(size)


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
    for name in {f"{root}data.pkl", f"{root}byteorder"} & set(entries):
        if entries[name].compress_type != zipfile.ZIP_STORED:  # a few bytes could become any number of them
            raise CheckpointError(f"{path.name} has {name} compressed, which PyTorch never does; download it again.")
    order = entries.get(f"{root}byteorder")
    if order is not None and (order.file_size > MAX_WORD or archive.read(order) != b"little"):
        raise CheckpointError(f"{path.name} stores big-endian numbers; save it again on a little-endian machine.")
    scripted = f"{root}constants.pkl" in entries or any(name.startswith(f"{root}code/") for name in entries)
    return _Reader(path, root, entries).read(archive.read(pickled)), scripted


class _Reader:
    """The meaning of the names and storages in one archive's pickle."""

    def __init__(self, path: Path, root: str, entries: Mapping[str, zipfile.ZipInfo]) -> None:
        self._path, self._root, self._entries = path, root, entries
        self._starts: dict[str, int] = {}

    def read(self, pickled: bytes) -> Any:
        try:
            return Unpickler(pickled, self._find, self._storage).read()
        except (CheckpointError, zipfile.BadZipFile):
            raise
        except Refused as error:
            raise CheckpointError(
                f"{self._path.name} asks to run {error}, which no weights need; it was not run. If you trust the "
                f"file, save its weights alone: torch.save(torch.load({self._path.name!r}, weights_only=False)"
                f"['state_dict'], 'weights.pt'), with the key that it has."
            ) from error
        except Exception as error:  # A pickle can fail in any way that Python can; all of them mean a broken file.
            raise CheckpointError(
                f"{self._path.name} has a broken pickle ({error!s:.200}); download it again."
            ) from error

    def _find(self, module: str, name: str) -> Any:
        module = "builtins" if module == "__builtin__" else module
        if (module, name) in FUNCTIONS:
            return StandIn(FUNCTIONS[module, name])
        if module == "torch" and name in STORAGES:
            return _Storage(STORAGES[name])
        if module == "torch" and name in STORAGES.values():
            return None
        if module == "torch" and UNREAD.fullmatch(name):
            raise quantised(self._path.name, name.removesuffix("Storage"))
        if module == "__torch__" or module.startswith("__torch__."):
            return StandIn(lambda *_: Attributes())
        unknown = f"{module:.100}.{name:.100}"
        if module == "torch":  # kinds of tensors that no CLIP has
            raise Refused(unknown)
        return Unknown(unknown)

    def _storage(self, pid: Any) -> tuple[LazyTensor | Unknown, int]:
        """Find a storage: where its bytes start and how many elements it has."""
        kind, dtype, key, _, count = pid
        if isinstance(dtype, Unknown) and dtype.name == UNTYPED:
            return dtype, 0  # the kind of its numbers comes after it, and is not read
        # Nothing of another kind is put into words: a tuple of itself many times over would never end.
        known = isinstance(kind, str) and kind == "storage" and isinstance(key, str) and _is_count(count)
        if not known or not isinstance(dtype, _Storage):
            raise CheckpointError(f"{self._path.name} refers to something that is no tensor storage.")
        name = f"{self._root}data/{key}"
        info = self._entries.get(name)
        if info is None:
            raise CheckpointError(f"{self._path.name} lacks the tensor data {name[:100]!r}; download it again.")
        if info.compress_type != zipfile.ZIP_STORED or count * as_dtype(dtype).itemsize > info.file_size:
            raise CheckpointError(
                f"{self._path.name} stores {counted(info.file_size, 'byte')} (compression {info.compress_type}) where "
                f"{counted(count, 'uncompressed number')} of {dtype} were promised; download it again."
            )
        return LazyTensor(self._path, self._start(name, info), str(dtype), (count,)), count

    def _start(self, name: str, info: zipfile.ZipInfo) -> int:
        """Find the first byte of an entry's data, which only the entry's own header in the file tells."""
        if name not in self._starts:
            with open_plain(self._path) as file:
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


def _rebuild_tensor(storage: tuple[Any, int], offset: int, shape: Any, strides: Any, *_: Any) -> LazyTensor:
    whole, count = storage
    if not isinstance(whole, LazyTensor):
        raise ValueError("it makes a tensor of something that is no storage")
    axes = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= MAX_AXES
    if not axes or not all(map(_is_count, (offset, *shape, *strides))):
        raise CheckpointError(f"{whole.path.name} has a tensor whose shape and strides are no counts.")
    if offset + span(shape, strides) > count:
        raise CheckpointError(f"{whole.path.name} has a tensor that reaches outside its storage; download it again.")
    if prod(shape) > count:  # a small file could ask for any amount of memory so
        raise CheckpointError(
            f"{whole.path.name} has a tensor of {list(shape)} that repeats {counted(count, 'stored number')}, as torch "
            f"saves what expand gives; save it as tensor.contiguous()."
        )
    start = whole.offset + offset * as_dtype(whole.dtype).itemsize
    packed = strides == _row_major(shape)
    return LazyTensor(whole.path, start, whole.dtype, shape, None if packed else strides)


def _row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= max(size, 1)
    return tuple(reversed(steps))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < MAX_COUNT


def _same(value: Any = None, *_: Any) -> Any:
    return value


def _nothing(*_: Any) -> None:
    return None


def _sizes(values: Any = ()) -> tuple[Any, ...]:
    if not isinstance(values, (tuple, list)) or len(values) > MAX_AXES:
        raise ValueError("it has a shape that is no short list")
    return tuple(values)


def _table(pairs: Any = ()) -> dict[Any, Any]:
    """Make an ordered table, which PyTorch makes empty and fills afterwards."""
    if pairs:
        raise ValueError("it makes a table of pairs")
    return {}


PATHS = tuple(f"{kind}{system}Path" for kind in ("", "Pure") for system in ("Posix", "Windows"))
PLAIN = {
    "builtins": ("set", "frozenset", "complex", "range", "slice"),
    "collections": ("Counter", "deque"),
    "datetime": ("date", "datetime", "timedelta"),
    "functools": ("partial",),
    "pathlib": PATHS,
    "pathlib._local": PATHS,
    "numpy": ("dtype", "ndarray"),
    "numpy.core.multiarray": ("scalar", "_reconstruct"),
    "numpy._core.multiarray": ("scalar", "_reconstruct"),
}
"""Values that a pickle makes by a call, for arguments and counters beside the weights; none of them is kept."""
FUNCTIONS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _same,
    ("torch._utils", "_rebuild_parameter_with_state"): _same,
    ("torch", "Size"): _sizes,
    ("collections", "OrderedDict"): _table,
    # What an optimizer, a scaler or a training loop leaves beside the weights; none of it is used.
    ("torch", "device"): _nothing,
    ("collections", "defaultdict"): lambda *_: {},
    ("_codecs", "encode"): _nothing,
    **{(module, name): _nothing for module, names in PLAIN.items() for name in names},
    # TorchScript's own way to say "a list of integers" and "this has that type".
    **{("torch.jit._pickle", f"build_{kind}list"): _same for kind in ("int", "double", "bool", "tensor")},
    ("torch.jit._pickle", "restore_type_tag"): _same,
}


def tensors_of_module(module: Mapping[str, Any]) -> dict[str, LazyTensor]:
    """List the tensors of a TorchScript module by their dotted names.

    Raises:
      CheckpointError: modules that hold each other, or more of them than any CLIP has.
    """
    found: dict[str, LazyTensor] = {}
    waiting, n_seen = [(module, "", 0)], 0
    while waiting:
        inside, prefix, depth = waiting.pop()
        n_seen += 1 + len(inside)
        if depth > MAX_DEPTH or n_seen > MAX_MEMBERS:
            raise CheckpointError(f"its modules are nested more than {MAX_DEPTH} deep or too many; this is no CLIP.")
        for name, value in inside.items():
            if isinstance(value, LazyTensor):
                found[f"{prefix}{name}"] = value
            elif isinstance(value, Attributes):
                waiting.append((value, f"{prefix}{name}.", depth + 1))
    return found
