"""A disk that is full or fails, told in one sentence whichever library met it."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FAILING = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.EROFS)


@contextmanager
def disk_explained(place: Path, outcome: str, then: str) -> Iterator[None]:
    """A disk that is full or fails in one sentence, whichever library met it.

    Args:
      place: that was written to.
      outcome: what became of it, after "the disk filled up".
      then: what to do when there is space.
    """
    try:
        yield
    except Exception as error:
        if not (fault := disk_fault(error)):
            raise
        code, what, remedy = fault
        raise OSError(code, f"at {disk_of(place)} {what} {outcome}; {remedy}{then}", str(place)) from error


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


def disk_of(place: Path) -> Path:
    """Where the disk is mounted that a place lies on, or would."""
    try:
        place = next(part for part in (place, *place.parents) if part.exists()).resolve()
        while place != place.parent and place.stat().st_dev == place.parent.stat().st_dev:
            place = place.parent
    except (OSError, StopIteration):  # a disk that fails may not even say that
        pass
    return place
