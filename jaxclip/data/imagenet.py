"""ImageNet in the layouts it is kept in, Tiny ImageNet among them, with labels from the data sets' own files."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxclip.data.class_names import class_words, imagenet_own
from jaxclip.data.image_folders import ClassFolders, Files, Folder
from jaxclip.data.label_order import in_order
from jaxclip.data.matlab import read_matlab
from jaxclip.data.source import Labels
from jaxclip.data.tables import read_table, read_text
from jaxclip.data.walk import images_below, subfolders
from jaxclip.files.plain import is_there
from jaxclip.numerics.arrays import counted


class ImageNet(Files):
    """ImageNet's validation images in one folder, with their labels in a file nearby; labels are places among the
    sorted WordNet ids, 0 to 999.

    Labels are read from LOC_val_solution.csv, or from the development kit's meta.mat and
    ILSVRC2012_validation_ground_truth.txt, in the folder or up to four above it; those of Tiny ImageNet from
    val_annotations.txt beside its folder of images. Where every class has its own folder (`n01440764/...`),
    `ClassFolders` reads it. Names of the classes are those of LOC_synset_mapping.txt or of Tiny ImageNet's wnids.txt
    and words.txt nearby, else WordNet's.
    """

    kind = "imagenet"

    def __init__(self, root: Path):
        tiny = root / TINY
        files, others = images_below(root, deep=is_there(tiny))
        if is_there(tiny):
            truth = _annotations(tiny)
            others -= {".txt": 1}
        else:
            truth = _solution(root) or _devkit(root)
        if truth is None:
            raise ValueError(
                f"{root} holds ImageNet's validation images without their labels; put LOC_val_solution.csv there, or "
                f"the development kit's meta.mat and ILSVRC2012_validation_ground_truth.txt."
            )
        titles = synset_titles(root)
        ids = in_order(titles or truth.values())
        places = {one: place for place, one in enumerate(ids)}
        if unknown := [file for file in files if truth.get(Path(file).stem) not in places]:
            have = "has" if len(unknown) == 1 else "have"
            raise ValueError(
                f"{root}: {counted(len(unknown), 'image')} {have} no label, first {unknown[0]}; remove what has none."
            )
        values = np.array([places[truth[Path(file).stem]] for file in files], np.int32)
        super().__init__(root, files, {"label": Labels(values, shown(ids, titles))}, others)


TINY = "val_annotations.txt"
KAGGLE = Path("ILSVRC", "Data", "CLS-LOC")
IMAGENET_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
WORDNET_ID = re.compile(r"n\d{8}")


def imagenet_root(root: Path) -> Path | None:
    """The folder of splits inside Kaggle's ImageNet, from its top or any folder down to there; None elsewhere."""
    inside = [root / Path(*KAGGLE.parts[n:]) for n in range(len(KAGGLE.parts))]
    inside += [root] if root.resolve().parts[-3:] == KAGGLE.parts else []
    return next((place for place in inside if place.is_dir()), None)


def is_imagenet(root: Path) -> bool:
    """Tell whether a folder's names say that it is ImageNet, or Tiny ImageNet's validation split."""
    here, folders = images_below(root, deep=False)[0], subfolders(root)
    named = here and not folders and all(IMAGENET_NAME.fullmatch(name) for name in here)
    ids = folders and not here and all(WORDNET_ID.fullmatch(name) for name in folders)
    return bool(named or ids or is_there(root / TINY))


def open_imagenet(root: Path, split: str | None = None) -> Files:
    """ImageNet in whichever layout lies there.

    Raises:
      ValueError: several splits and none is asked for, or labels that are not there.
    """
    if (splits := imagenet_root(root)) is not None:
        there = [name for name in subfolders(splits) if images_below(splits / name)[0]]
        if not there or (split or there[0]) not in there or (split is None and len(there) > 1):
            raise ValueError(f"{root} is ImageNet with the splits {', '.join(there) or 'none'}; pass one as split.")
        root = splits / (split or there[0])
        if all(name.startswith("ILSVRC2012_test_") for name in images_below(root)[0]):
            return Folder(root)
    opened = imagenet_classes(root) if subfolders(root) and not is_there(root / TINY) else ImageNet(root)
    if splits is not None:
        opened.kind = "imagenet"  # what a run of it is opened as again, from the same top folder
    return opened


def imagenet_classes(root: Path) -> ClassFolders:
    """A folder per WordNet id; with a list of ids nearby, labels count all of its classes."""
    titles, found = synset_titles(root), subfolders(root)
    ids = in_order(titles) if titles and set(found) <= set(titles) else in_order(found)
    return ClassFolders(root, ids, dict(zip(ids, shown(ids, titles), strict=True)))


def shown(ids: Sequence[str], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Words for WordNet ids, no two alike: the given titles, else WordNet's; an id that has none stays."""
    words = class_words("imagenet") | dict(titles) | imagenet_own()
    return tuple(words.get(one, one) for one in ids)


def synset_titles(root: Path) -> dict[str, str]:
    """WordNet id -> words, from LOC_synset_mapping.txt, or Tiny ImageNet's wnids.txt and words.txt, nearby; empty if
    there are none."""
    if path := _nearby(root, "LOC_synset_mapping.txt"):
        return _pairs(path)
    ids, words = _nearby(root, "wnids.txt"), _nearby(root, "words.txt")
    if ids is None or words is None:
        return {}
    known = _pairs(words)
    return {one: known.get(one, one) for one in read_text(ids).split()}


def _pairs(path: Path) -> dict[str, str]:
    lines = [line.split(None, 1) for line in read_text(path).splitlines()]
    return {line[0]: line[1].strip() for line in lines if len(line) == 2}


def _annotations(path: Path) -> dict[str, str]:
    lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
    if not lines or any(len(line) < 2 or not WORDNET_ID.fullmatch(line[1]) for line in lines):
        raise ValueError(f"{path} must have a file's name and a WordNet id on every line; unpack the data set again.")
    return {Path(line[0]).stem: line[1] for line in lines}


def _nearby(root: Path, name: str) -> Path | None:
    # Four folders up from ILSVRC/Data/CLS-LOC/val is where Kaggle has the lists.
    places = [root, *list(root.resolve().parents)[:4]]
    return next((place / name for place in places if is_there(place / name)), None)


def _solution(root: Path) -> dict[str, str] | None:
    path = _nearby(root, "LOC_val_solution.csv")
    if path is None:
        return None
    header, rows = read_table(path)
    if not {"ImageId", "PredictionString"} <= set(header):
        raise ValueError(f"{path} must have the columns ImageId and PredictionString; got {', '.join(header)}.")
    if empty := [row["ImageId"] for row in rows if not row["PredictionString"].strip()]:
        raise ValueError(f"{path} has no label for {empty[0]}; download it again.")
    return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}


def _devkit(root: Path) -> dict[str, str] | None:
    truth, meta = (_nearby(root, name) for name in ("ILSVRC2012_validation_ground_truth.txt", "meta.mat"))
    if truth is None or meta is None:
        return None
    synsets = read_matlab(meta, "synsets")
    try:
        numbers = zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
        ids = {int(number): str(wordnet) for number, wordnet in numbers}
        # Line i belongs to the image whose name carries the number i.
        lines = enumerate(read_text(truth).split(), 1)
        return {f"ILSVRC2012_val_{number:08d}": ids[int(value)] for number, value in lines}
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(f"{meta} and {truth} are not those of the development kit ({error!s:.200}).") from error
