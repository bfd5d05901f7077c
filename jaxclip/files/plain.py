"""The one way in which files are opened to be read: regular files only, so that nothing waits and nothing never ends.

A named pipe waits until somebody writes, a device may give bytes for ever, and a link can lead to either.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"), (stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
)  # fmt: skip
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)


class NotPlain(ValueError):
    """What is there is no regular file."""


def open_plain(path: str | Path, buffering: int = -1) -> Any:
    """A regular file, or a link to one, opened to read bytes.

    Raises:
      OSError: there is none, or it cannot be opened.
      ValueError: it is something else, by name.
    """
    return open(path, "rb", buffering, opener=opened)


def again(file: Any) -> str:
    """A name of a file that is open, for a library that opens files by name: whatever has taken its own name since,
    this is the file that was looked at. Where the system has no such name it is its own."""
    held = f"/proc/self/fd/{file.fileno()}"
    return held if os.path.exists(held) else str(file.name)


def opened(path: str | Path, flags: int) -> int:
    """An opener for Python's own `open` and `io.FileIO`, as `open_plain` has it."""
    # Looked at first, for some devices do something when they are opened; and once it is open, for another may have
    # taken its place. A pipe that did is opened without waiting for its other end.
    _check_plain(path, os.stat(path))
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_plain(path, os.fstat(handle))
    except BaseException:
        os.close(handle)
        raise
    return handle


def read_bytes(path: str | Path, most: int | None = None) -> bytes:
    """Read all of a regular file.

    Args:
      most: bytes that it may have.

    Raises:
      OSError, ValueError: as `open_plain`; or it is larger.
    """
    with open_plain(path) as file:
        size = os.fstat(file.fileno()).st_size
        if most is not None and size > most:
            raise ValueError(f"{path} is {size} bytes, expected at most {most}.")
        return file.read(size)


def is_there(path: str | Path) -> bool:
    """Tell whether a regular file, or a link to one, is there: what is something else is never taken for nothing.

    Raises:
      ValueError: something else is there, by name; or a link that leads nowhere.
    """
    status = _status(path)
    if status is not None:
        _check_plain(path, status)
    return status is not None


def refuse_special(path: str | Path) -> None:
    """Make sure that there is a regular file, a folder or nothing.

    Raises:
      ValueError: there is a pipe, a socket, a device, or a link to one or to nowhere.
    """
    status = _status(path)
    if status is not None and not stat.S_ISDIR(status.st_mode):
        _check_plain(path, status)


def check_inside(path: Path) -> None:
    """Make sure that a regular file lies in its folder: what a link out of it leads to would be carried along.

    Raises:
      ValueError: it is a link out of the folder, or something else than a file, by name.
    """
    if is_there(path) and not path.resolve().is_relative_to(path.parent.resolve()):
        raise ValueError(
            f"{path} is a link out of its folder, to {path.resolve()}; put the file itself there, or remove the link."
        )


def expanded(name: str | Path) -> Path:
    """A path with ~ for somebody's home, as a shell has it: the home of nobody that is known here is only a name."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)


def kind_of(status: os.stat_result) -> str:
    """Say what something is, in a sentence."""
    return next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "a file")


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except ValueError:  # no such name: one with a zero byte
        return None
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOENT and os.path.islink(path)):
            raise ValueError(f"{path} is a link that leads nowhere; put the file there, or remove it.") from error
        if error.errno in _NOWHERE:
            return None
        raise


def _check_plain(path: str | Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        linked = "a link to " if os.path.islink(path) else ""
        raise NotPlain(f"{path} is {linked}{kind_of(status)}, and only a regular file is read; put one there.")
