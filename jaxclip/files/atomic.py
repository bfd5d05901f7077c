"""Folders that appear whole or not at all, whatever happens while they are written, and that know if they changed."""

import ctypes
import errno
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from jaxclip.files.checksums import changed, checksums
from jaxclip.files.disk import disk_explained
from jaxclip.files.plain import is_there
from jaxclip.files.strict_json import read_object
from jaxclip.files.whole import write_whole

MANIFEST = "manifest.json"
AT_FDCWD, RENAME_EXCHANGE = -100, 2  # of Linux
SPARE = 64 * 2**20  # bytes of disk that a save needs beside what it counted


@contextmanager
def appears_whole(folder: Path) -> Iterator[Path]:
    """A draft beside `folder` that takes its place on success and vanishes on any failure.

    A process that is killed leaves what was there, or all of the new one, and maybe a draft, which `leftovers` finds;
    only where the system cannot exchange two names can it leave neither, and then `put_back` has the old one.

    Raises:
      OSError: the disk is full or fails, in one sentence; any other error of the body as it is.
    """
    with disk_explained(folder, f"while {folder.name} was written and nothing was left behind", "run it again"):
        draft = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".draft", dir=folder.parent))
        with _in_use(draft):
            try:
                yield draft
                _sync(draft)
                draft.chmod(0o755)
                _replace(draft, folder)
            except BaseException:
                _remove(draft)
                raise


def leftovers(folder: Path) -> list[Path]:
    """What processes that were killed while they wrote `folder` left beside it; nothing that one still writes."""
    named = re.compile(rf"\.{re.escape(folder.name)}\.\w{{8}}\.(draft|old)")
    if not folder.parent.is_dir():
        return []
    found = sorted(path for path in folder.parent.iterdir() if named.fullmatch(path.name) and _is_folder(path))
    return [] if any(_is_in_use(path) for path in found) else found


def taken_away(folder: Path) -> list[Path]:
    """What had the name of `folder` when a process was killed between two renames; empty where something has it now."""
    if os.path.lexists(folder):
        return []
    return [path / folder.name for path in leftovers(folder) if _is_folder(path / folder.name)]


def _is_folder(path: Path) -> bool:
    """Tell whether it is one of its own: behind a link lies what is somebody else's, and is not moved from there."""
    return path.is_dir() and not path.is_symlink()


def put_back(folder: Path) -> bool:
    """Give its name back to a folder that was being replaced when the process was killed between two renames."""
    kept = taken_away(folder)
    if len(kept) != 1:
        return False
    kept[0].rename(folder)
    with suppress(OSError):  # somebody put more into it
        kept[0].parent.rmdir()
    return True


def where_left(folder: Path) -> str:
    """What to say, behind an error, of a folder that is not there because a process was killed while it replaced it."""
    kept = taken_away(folder)
    if len(kept) > 1:
        return f" What it was is one of {' and '.join(map(str, kept))}: move it to {folder}."
    return f" What it was lies in {kept[0].parent}: `jaxclip convert` to {folder} puts it back." if kept else ""


@contextmanager
def _in_use(draft: Path) -> Iterator[None]:
    """Others can tell that a draft is being written, for as long as this process lives."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(draft, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks have no locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _is_in_use(draft: Path) -> bool:
    try:
        import fcntl

        handle = os.open(draft, os.O_RDONLY | os.O_NOFOLLOW)
    except (ImportError, OSError):
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EWOULDBLOCK, errno.EACCES)
    finally:
        os.close(handle)
    return False


def _replace(draft: Path, folder: Path) -> None:
    if not os.path.lexists(folder):
        draft.rename(folder)
        _sync_folder(folder.parent)
    elif _exchanged(draft, folder):
        try:
            _sync_folder(folder.parent)
        except OSError:
            with suppress(OSError):
                _exchanged(draft, folder)
            raise
        _discard(draft)
    else:
        _replace_in_two(draft, folder)


def _exchanged(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    swap = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
    if swap is None:
        return False
    swap.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if swap(AT_FDCWD, os.fsencode(one), AT_FDCWD, os.fsencode(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _replace_in_two(draft: Path, folder: Path) -> None:
    """By two renames, between which nothing has the name: what a process that is killed there leaves, `put_back`
    finds."""
    old = Path(mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent)) / folder.name
    try:
        folder.rename(old)
        draft.rename(folder)
        _sync_folder(folder.parent)
    except OSError:
        _back(draft, folder, old)
        raise
    _discard(old)
    shutil.rmtree(old.parent, ignore_errors=True)


def _back(draft: Path, folder: Path, old: Path) -> None:
    """Everything under the name it had before. What a failing disk does not let back stays where it is."""
    with suppress(OSError):
        if not draft.exists():
            folder.rename(draft)
        if os.path.lexists(old):
            old.rename(folder)
    with suppress(OSError):
        old.parent.rmdir()


def _discard(old: Path) -> None:
    """Delete a folder, or a link to one and nothing of what it leads to."""
    if old.is_symlink():
        old.unlink()
    else:
        shutil.rmtree(old, ignore_errors=True)


def _remove(draft: Path) -> None:
    """Delete a draft that other threads may still be writing to: a writer that failed does not stop its siblings,
    and each may make its folder again."""
    quiet = 0
    for _ in range(100):
        if os.path.lexists(draft):
            _discard(draft)
            quiet = 0
        else:
            quiet += 1
        if quiet == 5:
            return
        time.sleep(0.05)


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
      ValueError: a file is missing, is not what it was, or is one too many, by name.
    """
    files = manifest.get("files")
    if not isinstance(files, dict) or not all(_is_entry(name, said) for name, said in files.items()):
        raise ValueError(f"{folder / MANIFEST} is no list of files with their sizes and checksums; convert it again.")
    for name, said in files.items():
        if not is_there(folder / name):
            raise ValueError(f"{folder} lacks {name}, which its manifest names; convert it again.")
        if (folder / name).stat().st_size != said["bytes"]:
            raise ValueError(_another(folder, name))
    if strange := next(_strangers(folder, files), None):
        raise ValueError(f"{folder} holds {strange}, which its manifest does not name; remove it, or convert again.")
    for name in changed(folder, {name: said["sha256"] for name, said in files.items()}):
        raise ValueError(_another(folder, name))


def _strangers(folder: Path, files: Mapping[str, Any]) -> Iterator[str]:
    """Files in its own folders that libraries might read, whoever put them there; beside these, people keep notes."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        inside = len(name.parts) > 1 and not any(part.startswith(".") for part in name.parts)
        if inside and name.as_posix() not in files and (path.is_symlink() or not path.is_dir()):
            yield name.as_posix()


def _is_entry(name: str, said: Any) -> bool:
    """Tell whether a manifest says enough of a file, and of one inside its folder."""
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts and "\0" not in name
    return inside and isinstance(said, dict) and {"bytes", "sha256"} <= set(said)


def _another(folder: Path, name: str) -> str:
    return f"{folder} has another {name} than its manifest says; convert it again."


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write JSON that people can read as well."""
    write_whole(path, json.dumps(fields, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
      ValueError: the file is no JSON object.
    """
    return read_object(path, "convert the checkpoint again")
