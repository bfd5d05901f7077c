"""What lies in a folder: images, files of other kinds, and what systems leave there, which is neither."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from jaxclip.image_files import suffixes

SYSTEM_FOLDERS = frozenset(
    name.casefold()
    for name in (
        "__MACOSX", "lost+found", "found.000", "System Volume Information", "$RECYCLE.BIN", "RECYCLER", "RECYCLED",
        "@eaDir", "#recycle", "#snapshot", "@Recycle", "@Recently-Snapshot", "@__thumb", "@tmp", "~snapshot",
        "_gsdata_", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder", "OneDriveTemp", "thumbnails",
        "__pycache__",
    )
)  # fmt: skip
"""Folders of archives (macOS), of disks (Linux, Windows) and of network drives (Synology, QNAP, NetApp, AFP)."""
SYSTEM_FILES = frozenset(
    ("thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "icon\r", "picasa.ini", "zbthumbnail.info",
     "pspbrwse.jbf")
)  # fmt: skip


def is_system(name: str, *, folder: bool) -> bool:
    """Whether a system left it there, hidden things among them."""
    return name.startswith(".") or name.casefold() in (SYSTEM_FOLDERS if folder else SYSTEM_FILES)


def images_below(root: Path, deep: bool = True) -> tuple[list[str], Counter[str]]:
    """Sorted relative names of the files that look like images, and how many others there are, by what their names end
    in. Links to folders are followed, each folder once; what systems leave is left out.

    Raises:
      OSError: a folder cannot be listed.
    """
    found, others, seen = [], Counter[str](), set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=_refused):
        place = os.path.realpath(folder)
        below[:] = [] if place in seen or not deep else [x for x in below if not is_system(x, folder=True)]
        for name in () if place in seen else files:
            if is_system(name, folder=False):
                continue
            if Path(name).suffix.lower() in suffixes():
                found.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others[Path(name).suffix.lower()] += 1
        seen.add(place)
    return sorted(found), others


def subfolders(root: Path) -> list[str]:
    """Sorted names, without those that systems leave."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_system(path.name, folder=True))


def named_kinds(others: Mapping[str, int]) -> str:
    """ "2 files of other kinds skipped: .heic"; nothing for none."""
    if not (n := sum(others.values())):
        return ""
    kinds = [kind or "no suffix" for kind, _ in Counter(others).most_common(6)]
    more = f" and {len(others) - 6} other kinds" if len(others) > 6 else ""
    return f"{n} file{'s' if n > 1 else ''} of other kinds skipped: {', '.join(kinds)}{more}"


def _refused(error: OSError) -> NoReturn:
    """A folder that cannot be looked into is not an empty one: rights are no part of the data."""
    said = f"this folder of the data cannot be looked into ({error.strerror}); grant access, or take it out of the data"
    raise OSError(error.errno, said, error.filename) from error
