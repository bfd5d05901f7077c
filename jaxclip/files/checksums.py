"""SHA-256 of files: what a folder was when it was written, beside what it is when it is read."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxclip.files.plain import is_there, open_plain

THREADS = 4
"""Python lets go of its lock while it hashes."""


def sha256(path: Path) -> str:
    """Of one file; whatever its size, in little memory."""
    with open_plain(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checksums(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """SHA-256 of files of a folder by their names in it; those that are not there are left out.

    Raises:
      ValueError: something that is no file has such a name.
    """
    present = [name for name in names if is_there(folder / name)]
    with ThreadPoolExecutor(THREADS) as threads:
        return dict(zip(present, threads.map(lambda name: sha256(folder / name), present), strict=True))


def changed(folder: Path, said: Mapping[str, str]) -> Iterator[str]:
    """Names of the files that are not there or not what they were, in the order they are found."""
    found = checksums(folder, said)
    return (name for name, digest in said.items() if found.get(name) != digest)
