"""What files were when a pass began: whether one is still the same is asked when it is read, and at the end.

A stamp is a file's size, time, inode and time of change (which nobody sets back), and, where asked for, its SHA-256.
"""

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt64

from jaxclip.data.source import Stored, stored
from jaxclip.files.plain import open_plain
from jaxclip.numerics.arrays import counted

SIZE_AND_TIME, ALL_BUT_CONTENTS = 2, 4
"""Columns of a stamp that a fingerprint holds, and those that need no reading."""


class DataChanged(ValueError):
    """A file is not what it was when the pass began."""


@dataclass(frozen=True)
class Listing:
    """Files of a source, and what they were.

    Attributes:
      stored: where they are.
      stamps: of each.
      columns: of the stamps, that have to stay the same.
      since: when that was, and what it means for what was done since then.
    """

    stored: Stored
    stamps: UInt64[np.ndarray, "file number"]
    columns: slice
    since: str = "the pass began; what was done so far is kept"

    @classmethod
    def of(cls, source: Any, *, contents: bool = False, moved: bool = False, since: str | None = None) -> "Listing":
        """What the files of a source are now.

        Args:
          source: a `jaxclip.data.source.Source`; one that draws its images has no files.
          contents: read all of them; two stamps are then the same where contents are.
          moved: that inodes and times of change say nothing: size and time have to do.
          since: see `Listing`; by default for a pass.
        """
        held = stored(source)
        stamps = [stamp(held.path(number), contents) for number in range(held.n)]
        width = ALL_BUT_CONTENTS + 4 * contents
        columns = slice(ALL_BUT_CONTENTS, None) if contents else slice(SIZE_AND_TIME if moved else ALL_BUT_CONTENTS)
        return cls(held, np.array(stamps, np.uint64).reshape(-1, width), columns, since or cls.since)

    def check(self, number: int) -> None:
        """Make sure that one file is still what it was.

        Raises:
          DataChanged: it is not.
        """
        path, before = self.stored.path(number), self.stamps[number]
        now = stamp(path, self.stamps.shape[1] > ALL_BUT_CONTENTS)
        if (now[self.columns] != before[self.columns]).any():
            raise DataChanged(
                f"{path} {_difference(before, now)} since {self.since}. Put it back as it was and run the same command "
                f"again, or name another folder."
            )

    def check_shared(self) -> None:
        """Make sure of the files that hold many images; those that hold one are asked about when they are read."""
        if not self.stored.one_each:
            for number in range(self.stored.n):
                self.check(number)

    def changed_since(self) -> list[Path]:
        """Files that are no longer what they were."""
        found = []
        for number in range(self.stored.n):
            try:
                self.check(number)
            except DataChanged:
                found.append(self.stored.path(number))
        return found

    def changed(self, before: UInt64[np.ndarray, "file number"]) -> list[int]:
        """Numbers of the files that were something else; contents count where both stamps have them."""
        if len(before) != self.stored.n:
            return []
        width = min(before.shape[1], self.stamps.shape[1])
        columns = self.columns if width == self.stamps.shape[1] else slice(ALL_BUT_CONTENTS)
        differ = before[:, :width][:, columns] != self.stamps[:, :width][:, columns]
        return np.flatnonzero(differ.any(1)).tolist()


def stamp(path: Path, contents: bool = False) -> UInt64[np.ndarray, "number"]:
    """Of one file; zeros where there is none that can be asked about."""
    width = ALL_BUT_CONTENTS + 4 * contents
    try:
        status = path.stat()
        words = [status.st_size, status.st_mtime_ns, status.st_ino, status.st_ctime_ns]
        if contents and stat.S_ISREG(status.st_mode):  # a pipe need never end
            with open_plain(path) as file:
                found = hashlib.file_digest(file, "sha256").digest()
            words += np.frombuffer(found, np.uint64).tolist()
        words += [0] * (width - len(words))
    except (OSError, ValueError):  # no such file, or no such name: too long, or with a zero byte
        return np.zeros(width, np.uint64)
    return np.array([word % 2**64 for word in words], np.uint64)


def _difference(before: Any, now: Any) -> str:
    """What happened to a file, after its name."""
    if not now.any():
        return "is gone or cannot be asked about any more"
    if not before.any():
        return "was not there and has come"
    if before[0] != now[0]:
        return f"has changed from {int(before[0]):,} to {counted(int(now[0]), 'byte')}"
    names = ("size", "time", "inode", "time of change")
    which = [name for name, x, y in zip(names, before, now, strict=False) if x != y]
    return f"has changed ({', '.join(which) or 'contents'})"
