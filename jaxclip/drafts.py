"""Folders that appear whole or not at all, whatever happens while they are written, and that know if they changed."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from jaxclip.checksums import changed, checksums
from jaxclip.strict_json import read_object

MANIFEST = "manifest.json"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.EROFS)
SPARE = 64 * 2**20  # bytes of disk that a save needs beside what it counted


@contextmanager
def appears_whole(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` that takes its place on success and vanishes on any failure.

    Raises:
      OSError: the disk is full or fails, in one sentence; any other error of the body as it is.
    """
    with disk_explained(folder, f"while {folder.name} was written and nothing was left behind", "run it again"):
        draft = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".draft", dir=folder.parent))
        try:
            yield draft
            _sync(draft)
            draft.chmod(0o755)
            _replace(draft, folder)
        except BaseException:
            _remove(draft)
            raise


@contextmanager
def disk_explained(folder: Path, outcome: str, then: str) -> Iterator[None]:
    """A disk that is full or fails in one sentence, whichever library met it.

    Args:
      folder: that was written to.
      outcome: what became of it, after "the disk filled up".
      then: what to do when there is space.
    """
    try:
        yield
    except Exception as error:
        if not (fault := disk_fault(error)):
            raise
        code, what, remedy = fault
        raise OSError(code, f"{what} {outcome}; {remedy}{then}", str(folder)) from error


def _replace(draft: Path, folder: Path) -> None:
    old = None
    if folder.exists():
        old = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent)) / folder.name
    try:
        if old:
            folder.rename(old)
        draft.rename(folder)
        _sync_folder(folder.parent)
    except OSError:
        _back(draft, folder, old)
        raise
    if old:
        shutil.rmtree(old.parent, ignore_errors=True)


def _back(draft: Path, folder: Path, old: Path | None) -> None:
    """Everything under the name it had before. What a failing disk does not let back stays where it is."""
    with suppress(OSError):
        if not draft.exists():
            folder.rename(draft)
        if old and old.exists():
            old.rename(folder)
    if old:
        with suppress(OSError):
            old.parent.rmdir()


def _remove(draft: Path) -> None:
    """Delete a draft that other threads may still be writing to: a writer that failed does not stop its siblings,
    and each may make its folder again."""
    quiet = 0
    for _ in range(100):
        if draft.exists():
            shutil.rmtree(draft, ignore_errors=True)
            quiet = 0
        else:
            quiet += 1
        if quiet == 5:
            return
        time.sleep(0.05)


def disk_fault(error: BaseException) -> tuple[int, str, str] | None:
    """Its code, what happened and what to do first, if a full or failing disk is behind an error.

    Orbax and tensorstore have their own types of error, with the system's words inside. An OSError that only quotes how
    a disk failed is one of ours, and says more.
    """
    code, said = getattr(error, "errno", None), str(error).lower()
    if code not in (*FULL, *FAILING):
        quoted = FULL if isinstance(error, OSError) else (*FULL, *FAILING)
        code = next((code for code in quoted if os.strerror(code).lower() in said), None)
    if code is None:
        return None
    if code in FULL:
        return errno.ENOSPC, "the disk filled up", "free some space and "
    return code, f"the disk or network failed ({os.strerror(code)})", ""


def check_space(parent: Path, needed: int) -> None:
    """Refuse to start what cannot end.

    Raises:
      OSError: the disk of `parent` has less than `needed` bytes and some to spare.
    """
    free = shutil.disk_usage(parent).free
    if free < needed + SPARE:
        raise OSError(
            errno.ENOSPC, f"the weights take {needed:,} bytes and the disk has {free:,} left; free some", str(parent)
        )


def _sync(folder: Path) -> None:
    """To the disk before the rename, so that a power cut cannot leave a whole name over half a content."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def inventory(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of every file in a folder; what `check_files` compares with."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": digest}
        for name, digest in checksums(folder, names).items()
    }


def check_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Compare every byte of a folder with its manifest, before any of them is believed: sizes first, then contents.

    Raises:
      ValueError: a file is missing or is not what it was, by name.
    """
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_entry(name, said) for name, said in files.items()):
        raise ValueError(f"{folder / MANIFEST} is no list of files with their sizes and checksums; convert it again.")
    for name, said in files.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder} lacks {name}, which its manifest names; convert it again.")
        if (folder / name).stat().st_size != said["bytes"]:
            raise ValueError(_another(folder, name))
    for name in changed(folder, {name: said["sha256"] for name, said in files.items()}):
        raise ValueError(_another(folder, name))


def _is_entry(name: str, said: Any) -> bool:
    """Whether a manifest says enough of a file, and of one inside its folder."""
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name
    return inside and isinstance(said, dict) and {"bytes", "sha256"} <= set(said)


def _another(folder: Path, name: str) -> str:
    return f"{folder} has another {name} than its manifest says; convert it again."


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """For people to read as well."""
    path.write_text(json.dumps(fields, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Inverse of `write_json`.

    Raises:
      ValueError: the file is no JSON object.
    """
    return read_object(path, "convert the checkpoint again")
