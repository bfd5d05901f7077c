"""A run's folder from the writing side: who may write, what a run is, and files that are replaced whole."""

import errno
import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

import jax
import numpy as np
from flax import nnx

from jaxclip.checksums import changed, checksums
from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, Compute
from jaxclip.data.source import Source
from jaxclip.heads import head_matrices
from jaxclip.params import flatten
from jaxclip.strict_json import parse_json

FORMAT = 3
RUN, MATRICES, IMAGES, STATE, BANK, LOCK = "run.json", "matrices.npy", "images.jsonl", "state.npz", "bank", ".lock"
LINES = "images.part.jsonl"
LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "pillow")


def describe(clip: Clip, source: Source, options: Mapping[str, Any], model: str, data: str) -> dict[str, Any]:
    """All that decides what a pass computes, in JSON types."""
    described = outline(clip.config, clip.vision.compute, source, options)
    described["model"] |= {"source": model, "hash": model_hash(clip)}
    described["data"] |= {"source": data, "fingerprint": source.fingerprint()}
    return described


def outline(config: ClipConfig, compute: Compute, source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of it that is known before a model's weights and all of its data are read."""
    from jaxclip import __version__

    device = jax.devices()[0]
    outlined = {
        "format": FORMAT,
        "model": {"name": config.name, "compute": vars(compute), "config": config.to_dict()},
        "data": {
            "kind": source.kind,
            "n_images": len(source),
            "label_names": {kind: list(names) for kind, names in source.label_names.items()},
        },
        "options": dict(options),
        "versions": {"jaxclip": __version__, "python": platform.python_version()}
        | {name: version(name) for name in LIBRARIES},
        "device": f"{device.platform}: {device.device_kind}",
    }
    return json.loads(json.dumps(outlined))


def model_hash(clip: Clip) -> str:
    """SHA-256 of the image tower: its weights by name, and what it does with a picture."""
    total = hashlib.sha256(json.dumps(clip.config.to_dict()["vision"], sort_keys=True).encode())
    total.update(json.dumps(clip.config.to_dict()["preprocess"], sort_keys=True).encode())
    for path, leaf in sorted(flatten(nnx.to_pure_dict(nnx.state(clip.vision)))):
        array = np.ascontiguousarray(leaf)
        total.update(f"{path} {array.dtype} {array.shape}".encode())
        total.update(array.view(np.uint8).data if array.size else b"")
    return total.hexdigest()


def check_place(folder: Path) -> None:
    """A place for a run: nothing, an empty folder, or a run.

    Raises:
      FileExistsError: it holds something that is no run.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder for the run.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    strange = there - {LOCK, MATRICES, f"{MATRICES}.draft", f"{RUN}.draft"}
    if strange and not (folder / RUN).is_file():
        raise FileExistsError(f"{folder} holds {sorted(strange)[0]} and is no run; name another folder.")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder is this process's alone. However the process ends, the claim ends with it.

    Raises:
      FileExistsError: another process runs into it, or it holds something that is no run.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+b") as lock:
        if not _lock(lock):
            raise FileExistsError(f"another process is running into {folder}; wait for it, or name another folder.")
        yield


def _lock(file: BinaryIO) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows: nothing tells two runs apart there
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)  # some network disks have no locks at all
    return True


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete and on the disk; until then the old one stays."""
    draft = path.with_name(f"{path.name}.draft")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def settle(folder: Path, described: Mapping[str, Any], clip: Clip) -> None:
    """Begin a run, or make sure that the one that is there is this one.

    Raises:
      ValueError: it is another one, naming what differs.
    """
    begun = (folder / RUN).is_file()
    if begun:
        _same(folder, _identity(read_info(folder)), _identity(described))
    if begun and (folder / STATE).is_file():
        return
    # Until a state vouches for them, nothing says that these are whole: they are written again.
    with replaced(folder / MATRICES) as file:
        # By way of memory: NumPy's own writing does not say why it came up short.
        whole = io.BytesIO()
        np.save(whole, np.asarray(head_matrices(clip.vision)))
        file.write(whole.getbuffer())
    with replaced(folder / RUN) as file:
        file.write(json.dumps(described, indent=1, ensure_ascii=False).encode() + b"\n")


def check_goes_on(folder: Path, outlined: Mapping[str, Any]) -> None:
    """Refuse a folder that holds another run, as far as its outline tells; `settle` compares all of it.

    Raises:
      ValueError: it is another one, naming what differs.
    """
    if (folder / RUN).is_file():
        held = {
            name: {key: value for key, value in part.items() if key in outlined[name]}
            if isinstance(part, dict) else part
            for name, part in read_info(folder).items() if name in outlined
        }  # fmt: skip
        _same(folder, held, outlined)


def _same(folder: Path, held: Any, wanted: Any) -> None:
    if differing := sorted(_differences(held, wanted)):
        raise ValueError(
            f"{folder} is a run of something else and cannot go on: {'; '.join(differing)}. Name another folder, or "
            f"delete this one."
        )


def fixed_checksums(folder: Path) -> dict[str, str]:
    """SHA-256 of the files that never change while a run goes on; those of a bank say what its numbers mean."""
    metadata = sorted(path.relative_to(folder).as_posix() for path in (folder / BANK).rglob("zarr.json"))
    return checksums(folder, [RUN, MATRICES, *metadata])


def check_unchanged(folder: Path, said: Mapping[str, str]) -> None:
    """Compare files with what the saved state says of them.

    Raises:
      ValueError: one of them is missing or is not what it was, by name.
    """
    if name := next(changed(folder, said), None):
        raise ValueError(damaged(folder, name))


def damaged(folder: Path, name: str) -> str:
    """What to say of a file that is not what was written."""
    what = "damaged: its checksum is not that of what was written" if (folder / name).exists() else "missing"
    return f"{folder / name} is {what}; delete {folder} and run it again."


def read_info(folder: Path) -> dict[str, Any]:
    """run.json.

    Raises:
      ValueError: it is damaged, or of another version's format.
    """
    try:
        info = parse_json((folder / RUN).read_bytes())
    except ValueError as error:
        raise ValueError(f"{folder / RUN} is damaged ({error}); delete {folder} and run it again.") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        held = info.get("format") if isinstance(info, dict) else None
        raise ValueError(f"{folder / RUN} is of format {held!r} and this version reads {FORMAT}; run it again.")
    if not _says_enough(info):
        raise ValueError(f"{folder / RUN} is damaged (it does not say all of a run); delete {folder} and run it again.")
    return info


def _says_enough(info: Mapping[str, Any]) -> bool:
    """Whether what readers rely on is there and of its kind; a run may have been made by anybody."""
    try:
        data, options = info["data"], info["options"]
        ClipConfig.from_dict(info["model"]["config"])
        counts = [data["n_images"], options["batch"], info["order"]["parts"], info["order"]["steps"]]
        names = [name for some in data["label_names"].values() for name in some]
        words = [info["model"]["source"], data["source"], data["kind"], options["units"], *names]
        return (
            all(type(n) is int and 0 < n < 2**40 for n in counts)
            and options["batch"] % info["order"]["parts"] == 0
            and info["order"].keys() == {"parts", "steps"}
            and all(isinstance(word, str) for word in words)
            and all(isinstance(some, list) for some in data["label_names"].values())
            and all(isinstance(options[name], bool) for name in ("moments", "apply_exif"))
            and isinstance(options["by"], list)
            and set(options["by"]) <= set(data["label_names"])
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        return False


def _identity(described: Mapping[str, Any]) -> dict[str, Any]:
    """Without the places that model and data were found in: they may have moved."""
    parts = {name: part for name, part in described.items() if name not in ("model", "data")}
    return parts | {name: {**described.get(name, {}), "source": None} for name in ("model", "data")}


def _differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _differences(one.get(key), other.get(key), f"{path}.{key}" if path else key)
    elif one != other:
        yield f"{path} was {_short(one)} and is {_short(other)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 40 else f"{text[:20]}..."
