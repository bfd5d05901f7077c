"""Images that lie in files: a folder, a folder per class, a list, or Waterbirds' own layout."""

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.data.source import Example, Labels, Stored, digest
from jaxclip.image_files import suffixes


class Files:
    """Image files under one root, with their labels. The sources below differ in how they find both.

    Attributes:
      n_other: files of other kinds that lay among the images.
    """

    kind = "files"

    def __init__(self, root: Path, files: Sequence[str], labels: Mapping[str, Labels], n_other: int = 0):
        if not files:
            raise ValueError(f"{root} holds no images; pass a folder or a list with at least one.")
        if wrong := next((name for name in files if not _is_text(name)), None):
            raise ValueError(f"{root} holds a file whose name is not UTF-8: {wrong!r}; rename it.")
        self.root, self.files, self.n_other = root, tuple(files), n_other
        self._labels = dict(labels)
        self.label_names = {kind: label.names for kind, label in self._labels.items()}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        name = self.files[index]
        return Example(name, self.root / name, {kind: int(label.values[index]) for kind, label in self._labels.items()})

    def fingerprint(self) -> str:
        """Of names, sizes, times of change and labels. Contents are not read: that would take as long as the pass."""
        return digest(self._described())

    def stored(self) -> Stored:
        return Stored(len(self.files), lambda number: self.root / self.files[number], True)

    def _described(self) -> Iterator[Any]:
        yield {kind: list(names) for kind, names in self.label_names.items()}
        for index, name in enumerate(self.files):
            yield name, _stamp(self.root / name), [int(label.values[index]) for label in self._labels.values()]


class Folder(Files):
    """All images that lie directly in a folder, by name; no labels."""

    kind = "folder"

    def __init__(self, root: Path):
        found, n_other = images_below(root, deep=False)
        super().__init__(root, found, {}, n_other)


class ClassFolders(Files):
    """A folder per class: an image's label is the first folder on its way. Classes are the folders' sorted names."""

    kind = "classes"

    def __init__(self, root: Path, names: Sequence[str] | None = None, titles: Mapping[str, str] | None = None):
        names = tuple(names or subfolders(root))
        files, values, n_other = [], [], 0
        for name in subfolders(root):
            found, other = images_below(root / name)
            files += [f"{name}/{file}" for file in found]
            values += [names.index(name)] * len(found)
            n_other += other
        shown = tuple((titles or {}).get(name, name) for name in names)
        super().__init__(root, files, {"label": Labels(np.array(values, np.int32), shown)}, n_other)


class ListFile(Files):
    """Images named in a file; relative paths start from the file's folder.

    `.csv` and `.tsv` have a header: one column is the path (path, image, file, filename, file_name, img_filename or
    image_path), and every other one is a kind of label. A line of a `.txt` is a path, or a path, a tab and a label, or
    a path, a space and a whole number.
    """

    kind = "list"

    def __init__(self, path: Path):
        header, rows = _read_text(path) if path.suffix.lower() == ".txt" else read_table(path)
        column = next((name for name in PATH_COLUMNS if name in header), None)
        if column is None:
            raise ValueError(
                f"{path} needs a header with a column of paths ({', '.join(PATH_COLUMNS)}); got {', '.join(header)}."
            )
        rows = [row for row in rows if row[column].strip()]
        labels = {}
        for name in header:
            if name != column:
                try:
                    labels[name] = Labels.of([row[name] for row in rows])
                except ValueError as error:
                    raise ValueError(f"{path}, column {name}: {error}") from error
        if not rows:
            raise ValueError(f"{path} names no images; it should have one a line.")
        super().__init__(path.parent, [row[column].strip() for row in rows], labels)


PATH_COLUMNS = ("path", "image", "file", "filename", "file_name", "img_filename", "image_path")


class Waterbirds(Files):
    """The layout of Waterbirds: metadata.csv with img_filename, y, place and split (0 train, 1 validation, 2 test).

    `label` is the kind of bird, `place` the background, `group` their combination, y * 2 + place.
    """

    kind = "waterbirds"
    SPLITS = ("train", "validation", "test")

    def __init__(self, root: Path, split: str | None = None):
        path = root / "metadata.csv"
        header, rows = read_table(path)
        if missing := {"img_filename", "y", "place", "split"} - set(header):
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))} of Waterbirds' layout.")
        split = {"val": "validation", None: "test"}.get(split, split)
        if split not in (*self.SPLITS, "all"):
            raise ValueError(f"Waterbirds has the splits {', '.join(self.SPLITS)} and all; got {split!r}.")
        rows = [row for row in rows if split == "all" or row["split"].strip() == str(self.SPLITS.index(split))]
        bird, place = (_binary(path, name, rows) for name in ("y", "place"))
        groups = tuple(f"{b}_on_{p}" for b in ("landbird", "waterbird") for p in ("land", "water"))
        labels = {
            "label": Labels(bird, ("landbird", "waterbird")),
            "place": Labels(place, ("land", "water")),
            "group": Labels(bird * 2 + place, groups),
        }
        super().__init__(root, [row["img_filename"].strip() for row in rows], labels)


def images_below(root: Path, deep: bool = True) -> tuple[list[str], int]:
    """Sorted relative names of the files that look like images, and how many other files there are; hidden files and
    folders belong to the system."""
    found, n_other = [], 0
    for folder, below, files in os.walk(root, onerror=_refused):
        below[:] = [name for name in below if not name.startswith(".")] if deep else []
        for name in files:
            if name.startswith("."):
                continue
            if Path(name).suffix.lower() in suffixes():
                found.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                n_other += 1
    return sorted(found), n_other


def _refused(error: OSError) -> None:
    """A folder that cannot be looked into is not an empty one: rights are no part of the data."""
    said = f"this folder of the data cannot be looked into ({error.strerror}); grant access, or take it out of the data"
    raise OSError(error.errno, said, error.filename) from error


def subfolders(root: Path) -> list[str]:
    """Sorted names, without hidden ones."""
    return sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def read_table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a .csv or .tsv file.

    Raises:
      ValueError: no header, a column twice, or rows of another length.
    """
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with io.StringIO(read_text(path), newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, skipinitialspace=True)
        try:
            header, rows = [name.strip() for name in reader.fieldnames or ()], list(reader)
        except csv.Error as error:  # a field of more than 131,072 characters, which is no path and no label
            raise ValueError(f"{path}, line {reader.line_num}, is no table of paths and labels ({error}).") from error
    if twice := {name for name in header if header.count(name) > 1}:
        raise ValueError(f"{path} has the column {min(twice)!r} more than once; remove one.")
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, row {number}, has another number of columns than the header's {len(header)}.")
    return header, [{name.strip(): value for name, value in row.items()} for row in rows]


def _read_text(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    lines = [line.strip() for line in read_text(path).split("\n") if line.strip()]
    pairs = [_path_and_label(path.parent, line) for line in lines]
    if not any(label for _, label in pairs):
        return ["path"], [{"path": name} for name, _ in pairs]
    return ["path", "label"], [{"path": name, "label": label} for name, label in pairs]


def _path_and_label(folder: Path, line: str) -> tuple[str, str]:
    if "\t" in line:
        name, label = line.split("\t", 1)
        return name.strip(), label.strip()
    name, _, last = line.rpartition(" ")
    is_label = name and last.removeprefix("-").isdigit() and _stamp(folder / line) is None
    return (name.strip(), last) if is_label else (line, "")


def read_text(path: Path) -> str:
    """A text file in UTF-8.

    Raises:
      ValueError: it is no such text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8."
        ) from error


def _binary(path: Path, column: str, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    if wrong := {row[column] for row in rows} - {"0", "1"}:
        raise ValueError(f"{path}: column {column} must hold 0 or 1; got {sorted(wrong)[0]!r}.")
    return np.array([int(row[column]) for row in rows], np.int32)


def _is_text(name: str) -> bool:
    """Whether results can be written about it: bytes that are no UTF-8 are half characters in Python."""
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # no such file, or no such name: too long, or with a zero byte
        return None
    return [status.st_size, status.st_mtime_ns]
