"""Files that appear whole or not at all, and never through a link: what stood under their name stays until then.

A file is written under a name beside its own that nobody can foresee, made there and then, and renamed when all of it
is on the disk.
"""

import io
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from jaxclip.files.disk import disk_explained
from jaxclip.files.plain import kind_of

NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
_DRAFT = re.compile(r"\..*\.[0-9a-f]{16}\.draft", re.DOTALL)


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of `path` when it is complete and on the disk; until then the old one stays.

    Raises:
      ValueError: a link, a pipe, a device or a folder has its name.
      OSError: the disk is full or fails, in one sentence that says which; the old file is still there.
    """
    check_free_place(path)
    draft = path.with_name(_draft_name(path.name))
    with disk_explained(path, f"while {path.name} was written, and what was there before is kept", "run it again"):
        try:
            with io.BufferedWriter(create(draft)) as file:
                yield file  # pyright: ignore[reportReturnType]
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except BaseException:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


def write_whole(path: Path, content: bytes | str) -> None:
    """Write all of a file at once, text in UTF-8; its folder is made.

    Raises:
      ValueError, OSError: as `replaced`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replaced(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_results(path: Path, result: Mapping[str, Any]) -> None:
    """Write what a command found, as JSON."""
    write_whole(path, json.dumps(result, indent=1) + "\n")


def create(path: Path) -> io.RawIOBase:
    """A new file; anything that is there already, a link too, is an error."""
    return io.FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NOFOLLOW, 0o666), "w")


def append(path: Path) -> io.RawIOBase:
    """A file that is there, written to its end, in place: it must be this name's alone.

    Raises:
      ValueError: it has another name too, or is no regular file.
    """
    return io.FileIO(own(path, os.O_WRONLY | os.O_APPEND), "a")


def own(path: Path, flags: int) -> int:
    """Open in place, for writing, a file that has no other name, by which something elsewhere would change.

    Raises:
      ValueError: it is a link, has another name, or is no regular file.
    """
    check_free_place(path)
    handle = os.open(path, flags | NOFOLLOW, 0o666)
    status = os.fstat(handle)
    if stat.S_ISREG(status.st_mode) and status.st_nlink <= 1:
        return handle
    os.close(handle)
    what = "a file with other names elsewhere" if stat.S_ISREG(status.st_mode) else kind_of(status)
    raise ValueError(_taken(path, what))


def check_free_place(path: Path) -> None:
    """A place for a file: nothing, or a file that can be replaced.

    Raises:
      ValueError: a link, a pipe, a device or a folder is there.
    """
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(_taken(path, kind_of(status)))


def own_folder(folder: Path) -> Path:
    """A folder inside one that is written to, made if it is not there.

    Raises:
      ValueError: a link or a file has its name.
    """
    check_own_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def check_own_folder(folder: Path) -> None:
    """A place for such a folder: nothing, or a folder.

    Raises:
      ValueError: a link leads out of it, or a file has its name.
    """
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise ValueError(_taken(folder, kind_of(folder.lstat())))


def no_folder(path: Path) -> str | None:
    """What stands where a folder is wanted, in a few words; None for a folder, a link to one, or nothing."""
    if path.is_dir() or not os.path.lexists(path):
        return None
    return kind_of(path.stat()) if path.exists() else "a link that leads nowhere"


def is_draft(name: str) -> bool:
    """Tell whether a file was being written when its process ended."""
    return _DRAFT.fullmatch(name) is not None


def _draft_name(name: str) -> str:
    """One that nobody can foresee, and that is not too long where the name itself is not."""
    shown = os.fsencode(name)[:100].decode(errors="ignore")
    return f".{shown}.{os.urandom(8).hex()}.draft"


def _taken(path: Path, what: str) -> str:
    return f"{path} is {what}, and nothing is written through it; remove it, or name another place."
