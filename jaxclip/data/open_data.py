"""From what a user types to a source of images."""

from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from jaxclip.data.cifar import Cifar, is_cifar
from jaxclip.data.cub import Cub, is_cub
from jaxclip.data.file_names import as_named, written
from jaxclip.data.image_folders import ClassFolders, Folder, ListFile, Tree, Waterbirds, no_images
from jaxclip.data.imagefolder import ImageFolder, is_imagefolder
from jaxclip.data.imagenet import (
    imagenet_root,
    is_imagenet,
    open_imagenet,
)
from jaxclip.data.own import is_own, own_source, placed
from jaxclip.data.source import Example, First, Origin, Source, digest
from jaxclip.data.unread import refuse_unread
from jaxclip.data.walk import images_below, subfolders
from jaxclip.files.plain import expanded, is_there, refuse_special

Kind = Literal[
    "folder",
    "classes",
    "tree",
    "list",
    "imagefolder",
    "waterbirds",
    "cub",
    "cifar",
    "imagenet",
    "tfds",
    "scenes",
]

OWN_LAYOUTS = {"waterbirds": Waterbirds, "cub": Cub, "cifar": Cifar}

SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test", "testing"})


class Scenes:
    """The procedural scenes, drawn as they are read; every factor is a kind of label."""

    kind = "scenes"
    SIZES: ClassVar[dict[str, int]] = {"train": 20_000, "validation": 2_000, "test": 4_000}

    def __init__(self, split: str | None = None, n: int | None = None, *, seed: int = 0, pixels: int = 96):
        from jaxclip.data.scenes import FACTORS

        split = {"val": "validation", None: "test"}.get(split, split)
        if split not in self.SIZES:
            raise ValueError(f"the scenes have the splits {', '.join(self.SIZES)}; got {split!r}.")
        self.split: Any = split
        self.n, self.seed, self.pixels = n or self.SIZES[split], seed, pixels
        self.label_names = FACTORS

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> Example:
        from jaxclip.data.scenes import scene

        if not 0 <= index < self.n:
            raise IndexError(index)
        drawn = scene(self.seed, self.split, index, self.pixels, n_captions=1)
        return Example(f"{self.split}/{index:06d}", drawn["image"], drawn["labels"])

    def fingerprint(self) -> str:
        """Of the seed and of one scene as it is drawn here, for the drawing could change between versions."""
        drawn = self[0]
        return digest([self.kind, self.split, self.n, self.seed, self.pixels, drawn.image.tobytes().hex()])


def open_data(
    data: str | Path, *, kind: Kind | None = None, split: str | None = None, limit: int | None = None
) -> Source:
    """A source of images.

    >>> source = jaxclip.open_data("scenes", split="test", limit=3)
    >>> len(source), source[0].name
    (3, 'test/000000')

    Args:
      data: a folder of images, a folder per class, a list file (.csv, .tsv or .txt), Hugging Face's imagefolder,
        Waterbirds', CUB's or ImageNet's folder, that of CIFAR's binary version, a tfds folder or name, "scenes",
        or FILE.py:NAME for a source of one's own.
      kind: what it is, where that cannot be told from what lies there.
      split: of data sets that have splits; of a folder per class, a folder of that name in between.
      limit: only the first so many images.

    Raises:
      FileNotFoundError: there is no such file or folder, and no tfds data set of that name.
      ValueError: nothing in it, an unknown kind or split, or a layout that could be two things, saying which.
    """
    if kind is not None and kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}; got {kind!r}.")
    path = expanded(as_named(str(data)))
    if kind is None and is_own(str(data)):
        source = own_source(str(data), split)
    else:
        source = _open(str(data), path, kind or _kind(str(data), path, split), split)
    source = source if limit is None else First(source, limit)
    with suppress(AttributeError):  # one's own source may have no room for it
        object.__setattr__(source, "origin", Origin(written(placed(as_named(str(data)))), split))
    return source


def _open(data: str, path: Path, kind: str, split: str | None) -> Source:
    if kind == "scenes":
        return Scenes(split)
    if kind == "tfds":
        from jaxclip.data.tfds import TfdsSource

        return TfdsSource(data, split)
    if not path.exists():
        raise FileNotFoundError(f"{data}: there is no such file or folder.")
    if kind == "list":
        _refuse_split(split, path)
        return ListFile(path)
    if kind in OWN_LAYOUTS:
        return OWN_LAYOUTS[kind](path, split)
    return _folder(path, kind, split)


def _folder(path: Path, kind: str, split: str | None) -> Source:
    if kind == "imagenet" and imagenet_root(path) is not None:
        return open_imagenet(path, split)
    if split is not None:
        if not (path / split).is_dir():
            raise ValueError(f"{path} has no folder {split}; it has {', '.join(subfolders(path)[:8]) or 'none'}.")
        path = path / split
    if kind == "imagenet":
        return open_imagenet(path)
    return {"folder": Folder, "tree": Tree, "imagefolder": ImageFolder, "classes": ClassFolders}[kind](path)


def _kind(data: str, path: Path, split: str | None) -> str:
    if not path.exists():
        return "scenes" if data == "scenes" else "tfds"
    refuse_special(path)
    if path.is_file():
        if path.suffix.lower() not in (".csv", ".tsv", ".txt"):
            raise ValueError(f"{path} must be a folder or a list file (.csv, .tsv, .txt); a list can name one image.")
        return "list"
    here = path / split if split and (path / split).is_dir() else path
    if is_imagefolder(here):
        return "imagefolder"
    if is_there(path / "metadata.csv"):
        return "waterbirds"
    if is_cub(path):
        return "cub"
    if is_cifar(path):
        return "cifar"
    refuse_unread(here)
    if imagenet_root(path) is not None or is_imagenet(here):
        return "imagenet"
    if next(path.glob("**/dataset_info.json"), None) is not None:
        return "tfds"
    return _kind_of_folder(here)


WHOLE = "kind='tree' takes all images at any depth, without labels"


def _kind_of_folder(path: Path) -> str:
    (here, others), folders = images_below(path, deep=False), subfolders(path)
    inside = [name for name in folders if images_below(path / name)[0]]
    some = ", ".join(map(written, inside[:8])) + (", .." if len(inside) > 8 else "")
    if here and inside:
        raise ValueError(
            f"{path} holds images and folders of images ({some}): {WHOLE}; or pass kind='folder' for the first or "
            f"kind='classes' for the second."
        )
    if here:
        return "folder"
    if inside and {name.lower() for name in inside} <= SPLIT_FOLDERS:
        raise ValueError(f"{path} holds splits; pass one as split ({some}), or {WHOLE}.")
    if len(inside) == 1:
        raise ValueError(
            f"{path} holds images in one folder alone, {some}, and one class is no classification; pass {path / some}, "
            f"or {WHOLE}."
        )
    if not inside:
        for name in folders:
            others += images_below(path / name)[1]
        raise ValueError(no_images(path, others))
    return "classes"


def _refuse_split(split: Any, path: Path) -> None:
    if split is not None:
        raise ValueError(f"{path} is a list file and has no splits; leave out split={split!r}.")
