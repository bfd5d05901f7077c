"""Folders that appear whole or not at all, whatever happens while they are written, and that know if they changed."""

import errno
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from jaxclip.checksums import changed, checksums
from jaxclip.strict_json import parse_json

MANIFEST = "manifest.json"
SPARE = 64 * 2**20  # bytes of disk that a save needs beside what it counted


@contextmanager
def appears_whole(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` that takes its place on success and vanishes on any failure.

    Raises:
      OSError: the disk filled up, in one sentence; any other error of the body as it is.
    """
    draft = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".draft", dir=folder.parent))
    try:
        yield draft
        _sync(draft)
        draft.chmod(0o755)
        _replace(draft, folder)
    except BaseException as error:
        _remove(draft)
        if is_full(error):
            raise OSError(
                errno.ENOSPC,
                f"the disk filled up while {folder.name} was written and nothing was left behind; free some space and "
                f"run it again",
                str(folder),
            ) from error
        raise


def _replace(draft: Path, folder: Path) -> None:
    if not folder.exists():
        draft.rename(folder)
    else:
        old = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
        folder.rename(old / folder.name)
        try:
            draft.rename(folder)
        except OSError:
            (old / folder.name).rename(folder)
            raise
        finally:
            shutil.rmtree(old, ignore_errors=True)
    _sync_folder(folder.parent)


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


def is_full(error: BaseException) -> bool:
    """Orbax and tensorstore report a full disk in their own error types, with the system's words inside."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    words = tuple(os.strerror(code).lower() for code in full)
    return getattr(error, "errno", None) in full or any(word in str(error).lower() for word in words)


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
    try:
        fields = parse_json(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); convert the checkpoint again.") from error
    if not isinstance(fields, dict):
        raise ValueError(f"{path} must hold a JSON object; convert the checkpoint again.")
    return fields
