"""What lies in a folder: images, files of other kinds, and what systems leave there, which is neither."""

import os
from collections import Counter
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import NoReturn

from jaxclip.files.images import suffixes
from jaxclip.numerics.arrays import counted

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


MOST_COUNTED = 10_000
"""Pictures that are counted in one folder that is left out."""


def is_system(name: str, *, folder: bool) -> bool:
    """Tell whether a system left it there, hidden things among them."""
    return name.startswith(".") or name.casefold() in (SYSTEM_FOLDERS if folder else SYSTEM_FILES)


def images_below(root: Path, deep: bool = True) -> tuple[list[str], Counter[str]]:
    """Sorted relative names of the files that look like images, and how many others there are, by what their names end
    in. Links to folders are followed, each folder once; what systems leave is left out and so is what is hidden, but
    pictures in folders of such a name are counted under it ("thumbnails/", ".cache/"), and hidden ones under "./": it
    may be a name that somebody chose.

    Raises:
      OSError: a folder cannot be listed.
    """
    found, others, seen = [], Counter[str](), set()
    for folder, below, files in os.walk(root, followlinks=True, onerror=_refused):
        place = os.path.realpath(folder)
        for name in [] if place in seen else sorted(below):
            if is_system(name, folder=True) and (n := _pictures(Path(folder) / name)):
                others[f"{name}/"] += n
        below[:] = [] if place in seen or not deep else [x for x in below if not is_system(x, folder=True)]
        for name in () if place in seen else files:
            if is_system(name, folder=False):
                others["./"] += _is_picture(name) and not name.startswith("._")
            elif _is_picture(name):
                found.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others[Path(name).suffix.lower()] += 1
        seen.add(place)
    return sorted(found), +others


def subfolders(root: Path) -> list[str]:
    """Sorted names, without those that systems leave."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not is_system(path.name, folder=True))


def named_kinds(others: Mapping[str, int]) -> str:
    """ "2 files of other kinds skipped: .heic"; nothing for none."""
    files = Counter({kind: n for kind, n in others.items() if not kind.endswith("/")})
    if not (n := files.total()):
        return ""
    kinds = [kind or "no suffix" for kind, _ in files.most_common(6)]
    more = f" and {counted(len(files) - 6, 'other kind')}" if len(files) > 6 else ""
    return f"{counted(n, 'file')} of other kinds skipped: {', '.join(kinds)}{more}"


def named_folders(others: Mapping[str, int]) -> list[str]:
    """Pictures that were left out for a name, their own or their folder's, in words: nothing vanishes."""
    counts = {kind.removesuffix("/"): n for kind, n in others.items() if kind.endswith("/")}
    said = [
        f"{counted(n, 'image')} hidden by a name that begins with a dot" for name, n in counts.items() if name == "."
    ]
    hidden = sorted(name for name in counts if name.startswith(".") and name != ".")
    systems = sorted(counts.keys() - {*hidden, "."})
    for names, one, several in (
        (systems, "a name of folders that systems leave", "names of folders that systems leave"),
        (hidden, "a hidden folder", "hidden folders"),
    ):
        if names:
            n, alone = sum(counts[name] for name in names), len(names) == 1
            mend = "rename it if it is yours" if alone else "rename what is yours"
            least = "at least " if any(counts[name] >= MOST_COUNTED for name in names) else ""
            said.append(f"{least}{counted(n, 'image')} in {', '.join(names)}, {one if alone else several}; {mend}")
    return said


def _is_picture(name: str) -> bool:
    return Path(name).suffix.lower() in suffixes()


def _pictures(root: Path) -> int:
    """How many there are in a folder that is left out, as far as `MOST_COUNTED`: a file server's snapshots hold every
    folder many times. What cannot be listed there is no loss."""
    files = (name for _, _, names in os.walk(root) for name in names)
    pictures = (name for name in islice(files, 10 * MOST_COUNTED) if _is_picture(name) and not name.startswith("._"))
    return sum(1 for _ in islice(pictures, MOST_COUNTED))


def _refused(error: OSError) -> NoReturn:
    """A folder that cannot be looked into is not an empty one: rights are no part of the data."""
    said = f"this folder of the data cannot be looked into ({error.strerror}); grant access, or take it out of the data"
    raise OSError(error.errno, said, error.filename) from error
