"""Folders that appear whole or not at all, whatever happens while they are written."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

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
        shutil.rmtree(draft, ignore_errors=True)
        if _is_full(error):
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


def _is_full(error: BaseException) -> bool:
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
