"""Images that lie in files: a folder, a tree, a folder per class, a list, or Waterbirds' own layout."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.data.file_names import written
from jaxclip.data.label_order import in_order
from jaxclip.data.source import Example, Labels, Stored, digest
from jaxclip.data.tables import PATH_COLUMNS, path_column, read_list, read_table
from jaxclip.data.walk import images_below, named_folders, named_kinds, subfolders
from jaxclip.numerics.arrays import counted


class Files:
    """Image files under one root, with their labels. The sources below differ in how they find both.

    Attributes:
      files: their names below the root, as the system has them; examples have them as `written`.
      others: files of other kinds that lay among the images, by what their names end in.
      left_out: what else lay there and is not taken, in words.
    """

    kind = "files"
    left_out: tuple[str, ...] = ()

    def __init__(
        self, root: Path, files: Sequence[str], labels: Mapping[str, Labels], others: Mapping[str, int] | None = None
    ):
        self.root, self.files, self.others = root, tuple(files), Counter(others or {})
        if not files:
            raise ValueError(no_images(root, self.others))
        self._labels = dict(labels)
        self.label_names = {kind: label.names for kind, label in self._labels.items()}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Example:
        name = self.files[index]
        return Example(
            written(name), self.root / name, {kind: int(label.values[index]) for kind, label in self._labels.items()}
        )

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
        found, others = images_below(root, deep=False)
        super().__init__(root, found, {}, others)
        if n := len(subfolders(root)):
            self.left_out = (f"{counted(n, 'folder')} beside the images",)


class Tree(Files):
    """All images at any depth of a folder, by name; no labels."""

    kind = "tree"

    def __init__(self, root: Path):
        found, others = images_below(root)
        super().__init__(root, found, {}, others)


class ClassFolders(Files):
    """A folder per class: an image's label is the first folder on its way. Classes are the folders' names in the order
    of `jaxclip.data.label_order`."""

    kind = "classes"

    def __init__(self, root: Path, names: Sequence[str] | None = None, titles: Mapping[str, str] | None = None):
        names = tuple(names or in_order(subfolders(root)))
        places = {name: place for place, name in enumerate(names)}
        beside, others = images_below(root, deep=False)
        files, values, empty = [], [], []
        for name in subfolders(root):
            found, other = images_below(root / name)
            files += [f"{name}/{file}" for file in found]
            values += [places[name]] * len(found)
            others += other
            empty += [] if found else [name]
        shown = tuple((titles or {}).get(name, written(name)) for name in names)
        super().__init__(root, files, {"label": Labels(np.array(values, np.int32), shown)}, others)
        if n := len(beside):
            self.left_out += (f"{counted(n, 'image')} beside the folders",)
        if empty:
            more = f" and {len(empty) - 5} more" if len(empty) > 5 else ""
            self.left_out += (f"nothing in {', '.join(map(written, empty[:5]))}{more}, where no images are",)


class ListFile(Files):
    """Images named in a file; relative paths start from the file's folder.

    `.csv` and `.tsv` have a header: one column is the path (see `jaxclip.data.tables.PATH_COLUMNS`), and every other
    one is a kind of label. Of a `.txt` see `jaxclip.data.tables.read_list`.
    """

    kind = "list"

    def __init__(self, path: Path):
        header, rows = read_list(path) if path.suffix.lower() == ".txt" else read_table(path)
        files, labels = listed(path, header, rows)
        super().__init__(path.parent, files, labels)


def listed(path: Path, header: Sequence[str], rows: Sequence[Mapping[str, str]]) -> tuple[list[str], dict[str, Labels]]:
    """Paths and labels of a table.

    Raises:
      ValueError: no column of paths, no images, or a label that is none.
    """
    if (column := path_column(header)) is None:
        raise ValueError(
            f"{path} needs a header with a column of paths ({', '.join(PATH_COLUMNS)}); got {', '.join(header)}."
        )
    rows = [row for row in rows if row[column].strip()]
    if not rows:
        raise ValueError(f"{path} names no images; it should have one a line.")
    labels = {}
    for name in header:
        if name != column:
            try:
                labels[name] = Labels.of([row[name] for row in rows])
            except ValueError as error:
                raise ValueError(f"{path}, column {name}: {error}") from error
    return [row[column].strip() for row in rows], labels


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


LEADS = {
    ("heic", "heif"): "HEIC files need the extra that reads them (see the page on data), or convert them to JPEG",
    ("arrow", "parquet"): "those are tables of Hugging Face's datasets: write their images to a folder, a folder per "
    "class (imagefolder), and pass that",
    ("tar", "zip", "gz", "tgz", "7z", "rar"): "unpack the archive first",
    ("tfrecord", "array_record"): "pass the folder in which tfds keeps the data set, with its dataset_info.json",
    ("pkl", "pickle", "pt", "pth", "npy", "npz", "mat", "h5"): "write their pictures to image files first",
}  # fmt: skip


def no_images(root: Path, others: Mapping[str, int]) -> str:
    """What to say of a folder without images, and where what lies there leads."""
    found = named_kinds(others).partition(" skipped: ")
    kinds = {kind.removeprefix(".") for kind in others}
    lead = next((words for some, words in LEADS.items() if kinds & set(some)), "")
    lead = lead or "pass a folder or a list with at least one"
    left = [f"{found[0]} ({found[2]})"] * bool(found[2]) + named_folders(others)
    return f"{root} holds no images{', but ' * bool(left)}{', '.join(left)}; {lead}."


def _binary(path: Path, column: str, rows: Sequence[Mapping[str, str]]) -> np.ndarray:
    if wrong := {row[column] for row in rows} - {"0", "1"}:
        raise ValueError(f"{path}: column {column} must hold 0 or 1; got {sorted(wrong)[0]!r}.")
    return np.array([int(row[column]) for row in rows], np.int32)


def _stamp(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except (OSError, ValueError):  # no such file, or no such name: too long, or with a zero byte
        return None
    return [status.st_size, status.st_mtime_ns]
