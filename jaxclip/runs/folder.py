"""A run's folder from the writing side: who may write, what a run is, and files that are replaced whole."""

import errno
import hashlib
import io
import json
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from flax import nnx

from jaxclip.clip import Clip
from jaxclip.config import ClipConfig, Compute
from jaxclip.data.source import Source, origin
from jaxclip.data.stamps import Listing
from jaxclip.files import plain
from jaxclip.files.checksums import changed, checksums
from jaxclip.files.differences import differences
from jaxclip.files.plain import is_there
from jaxclip.files.strict_json import MAX_LARGE, parse_object
from jaxclip.files.whole import check_free_place, check_own_folder, is_draft, no_folder, own, replaced
from jaxclip.model.head_coordinates import head_matrices
from jaxclip.model.params import flatten
from jaxclip.numerics.arrays import counted
from jaxclip.runs import lock_holder
from jaxclip.runs.goes_on import STAMPS, as_file, changed_files, check_files, check_program
from jaxclip.runs.program import program

FORMAT = 4
READABLE = (3, FORMAT)
"""A run of format 3 does not say which code and machine made it: it is read, and does not go on."""
RUN, MATRICES, IMAGES, STATE, BANK, LOCK = "run.json", "matrices.npy", "images.jsonl", "state.npz", "bank", ".lock"
LINES = "images.part.jsonl"


def describe(
    clip: Clip, source: Source, options: Mapping[str, Any], model: str | None, data: str | None
) -> dict[str, Any]:
    """All that decides what a pass computes, in JSON types, and where its model and its data are found again.

    Args:
      model: where the model is, if the Clip does not know.
      data: likewise, of the source.
    """
    described, opened = outline(clip.config, clip.vision.compute, source, options), origin(source)
    described["model"] |= {"source": model or clip.source or "", "hash": model_hash(clip)}
    described["data"] |= {"source": data or opened.data, "fingerprint": source.fingerprint()}
    if opened.split is not None:
        described["data"]["split"] = opened.split
    return described


def outline(config: ClipConfig, compute: Compute, source: Source, options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of it that is known before a model's weights and all of its data are read."""
    outlined = {
        "format": FORMAT,
        "model": {"name": config.name, "compute": vars(compute), "config": config.to_dict()},
        "data": {
            "kind": source.kind,
            "n_images": len(source),
            "label_names": {kind: list(names) for kind, names in source.label_names.items()},
        },
        "options": dict(options),
        **program(),
    }
    text = json.dumps(outlined)
    if len(text) > MAX_LARGE // 2:  # indented it is longer, and the rest of what a run says is not in it yet
        counts = {kind: len(names) for kind, names in source.label_names.items()}
        kind = max(counts, key=counts.__getitem__)
        raise ValueError(
            f"the names of {kind}, {counts[kind]:,} of them, are too many to be labels, and {RUN} would be too large "
            f"to be read again; leave that column out."
        )
    return json.loads(text)


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
    if what := no_folder(folder):
        raise FileExistsError(f"{folder} is {what}; name a folder for the run.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    strange = {name for name in there if not is_draft(name)} - {LOCK, MATRICES, STAMPS, RUN}
    for name in sorted(there & {LOCK, MATRICES, STAMPS, RUN}):
        check_free_place(folder / name)
    if strange and not is_there(folder / RUN):
        raise FileExistsError(f"{folder} holds {sorted(strange)[0]} and is no run; name another folder.")


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder is this process's alone. However the process ends, the claim ends with it.

    Raises:
      FileExistsError: another process runs into it, or it holds something that is no run.
    """
    check_place(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with os.fdopen(own(folder / LOCK, os.O_RDWR | os.O_CREAT), "r+b") as lock:
        if not _lock(lock):
            raise FileExistsError(f"another process is running into {folder}: {lock_holder.told(lock)}.")
        lock_holder.note(lock)
        _check_own(folder)
        yield


def _check_own(folder: Path) -> None:
    """Make sure that all a run may write to is its own; what was being written when a process ended is removed.

    Tensorstore opens files by names that can be foreseen, a block's with ".__lock" behind it, and follows links.

    Raises:
      ValueError: something in it is a link, a pipe or a device, by name.
    """
    for name in (RUN, MATRICES, STAMPS, IMAGES, STATE, LINES):
        check_free_place(folder / name)
    for path in folder.iterdir():
        if is_draft(path.name):
            path.unlink()
    check_own_folder(folder / BANK)
    # Names first, as files go while it is walked.
    for place, inner, files in list(os.walk(folder / BANK)):
        for path in (Path(place, name) for name in (*inner, *files)):
            if path.name in inner and not path.is_symlink():
                continue
            check_free_place(path)
            if is_draft(path.name) or path.name.endswith(".__lock"):
                path.unlink()


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


def settle(
    folder: Path, described: Mapping[str, Any], clip: Clip, listing: Listing, accept: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Begin a run, or make sure that the one that is there is this one.

    Args:
      folder: of the run.
      described: what it is to be.
      clip: its model.
      listing: the data's files; their stamps are kept while the pass goes on.
      accept: see `jaxclip.runs.goes_on`.

    Returns:
      What was accepted, for the state to record.

    Raises:
      ValueError: it is another one, naming what differs.
    """
    begun = is_there(folder / RUN)
    if begun:
        info = read_info(folder)
        _same(folder, _identity(info), _identity(described), listing)
        if is_there(folder / STATE):
            others = check_files(folder, info, listing, accept)
            return check_program(folder, info, described, accept) + others
    stamps = as_file(listing)
    described = {**described, "data": {**described["data"], "stamps": hashlib.sha256(stamps).hexdigest()}}
    with replaced(folder / STAMPS) as file:
        file.write(stamps)
    # Until a state vouches for them, nothing says that these are whole: they are written again.
    with replaced(folder / MATRICES) as file:
        # By way of memory: NumPy's own writing does not say why it came up short.
        whole = io.BytesIO()
        np.save(whole, np.asarray(head_matrices(clip.vision)))
        file.write(whole.getbuffer())
    with replaced(folder / RUN) as file:
        file.write(json.dumps(described, indent=1, ensure_ascii=False).encode() + b"\n")
    return []


def check_goes_on(folder: Path, outlined: Mapping[str, Any], accept: Collection[str] = ()) -> None:
    """Refuse a folder that holds another run, as far as its outline tells; `settle` compares all of it.

    Raises:
      ValueError: it is another one, naming what differs.
    """
    if is_there(folder / RUN):
        info = read_info(folder)
        held = {
            name: {key: value for key, value in part.items() if key in outlined[name]}
            if name in ("model", "data") else part
            for name, part in info.items() if name in outlined
        }  # fmt: skip
        _same(folder, _identity(held), _identity(outlined))
        if is_there(folder / STATE):
            check_program(folder, info, outlined, accept)


def _same(folder: Path, held: Any, wanted: Any, listing: Listing | None = None) -> None:
    if differing := sorted(differences(held, wanted)):
        if listing is not None and any(line.startswith("data.fingerprint") for line in differing):
            with suppress(ValueError, OSError):
                if found := changed_files(folder, read_info(folder), listing):
                    differing.append(
                        f"{counted(len(found), 'file')} changed, the first is {listing.stored.path(found[0])}"
                    )
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
        info = parse_object(plain.read_bytes(folder / RUN, MAX_LARGE))
    except ValueError as error:
        raise ValueError(f"{folder / RUN} is damaged ({error}); delete {folder} and run it again.") from error
    if (held := info.get("format")) not in READABLE:
        reads = " and ".join(map(str, READABLE))
        raise ValueError(f"{folder / RUN} is of format {held!r} and this version reads {reads}; run it again.")
    if not _says_enough(info):
        raise ValueError(f"{folder / RUN} is damaged (it does not say all of a run); delete {folder} and run it again.")
    return info


def _says_enough(info: Mapping[str, Any]) -> bool:
    """Whether what readers rely on is there and of its kind; a run may have been made by anybody."""
    try:
        data, options = info["data"], info["options"]
        model = info["model"]
        ClipConfig.from_dict(model["config"])
        Compute(**model["compute"])
        counts = [data["n_images"], options["batch"], info["order"]["parts"], info["order"]["steps"]]
        names = [name for some in data["label_names"].values() for name in some]
        words = [model["source"], model["name"], model["hash"], info["device"], *info["versions"].values()]
        words += [data["source"], data["kind"], options["units"], data.get("split", ""), *names]
        return (
            all(type(n) is int and 0 < n < 2**40 for n in counts)
            and options["batch"] % info["order"]["parts"] == 0
            and info["order"].keys() == {"parts", "steps"}
            and all(isinstance(word, str) for word in words)
            and all(isinstance(some, list) for some in data["label_names"].values())
            and all(isinstance(options[name], bool) for name in ("moments", "bank", "apply_exif"))
            and isinstance(options["by"], list)
            and set(options["by"]) <= set(data["label_names"])
        )
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        return False


def _identity(described: Mapping[str, Any]) -> dict[str, Any]:
    """Without the places that model and data were found in, for they may have moved, and what `goes_on` compares."""
    parts = {name: part for name, part in described.items() if name not in ("model", "data", "code", "machine")}
    apart = {"source": None, "split": None, "stamps": None}
    return parts | {name: {**described.get(name, {}), **apart} for name in ("model", "data")}
