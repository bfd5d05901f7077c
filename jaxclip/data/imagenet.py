"""ImageNet's validation images in the two layouts they are kept in, with labels from ImageNet's own files."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxclip.data.classes import class_words, imagenet_own
from jaxclip.data.files import ClassFolders, Files, images_below, read_table, read_text, subfolders
from jaxclip.data.matlab import read_matlab
from jaxclip.data.source import Labels


class ImageNet(Files):
    """ImageNet's validation images in one folder, with their labels in a file nearby; labels are places among the
    sorted WordNet ids, 0 to 999.

    Labels are read from LOC_val_solution.csv, or from the development kit's meta.mat and
    ILSVRC2012_validation_ground_truth.txt, in the folder or up to three above it. Where every class has its own folder
    (`n01440764/...`), `ClassFolders` reads it. Names of the classes are those of LOC_synset_mapping.txt nearby, else
    WordNet's.
    """

    kind = "imagenet"

    def __init__(self, root: Path):
        files, n_other = images_below(root, deep=False)
        truth = _solution(root) or _devkit(root)
        if truth is None:
            raise ValueError(
                f"{root} holds ImageNet's validation images without their labels; put LOC_val_solution.csv there, or "
                f"the development kit's meta.mat and ILSVRC2012_validation_ground_truth.txt."
            )
        titles = synset_titles(root)
        ids = sorted(titles or set(truth.values()))
        if unknown := [file for file in files if truth.get(Path(file).stem) not in ids]:
            raise ValueError(f"{root}: {len(unknown)} images have no label, first {unknown[0]}; remove them.")
        values = np.array([ids.index(truth[Path(file).stem]) for file in files], np.int32)
        super().__init__(root, files, {"label": Labels(values, shown(ids, titles))}, n_other)


IMAGENET_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")
WORDNET_ID = re.compile(r"n\d{8}")


def imagenet_classes(root: Path) -> ClassFolders:
    """A folder per WordNet id; with LOC_synset_mapping.txt nearby, labels count all of its classes."""
    titles, found = synset_titles(root), subfolders(root)
    ids = sorted(titles) if titles and set(found) <= set(titles) else found
    return ClassFolders(root, ids, dict(zip(ids, shown(ids, titles), strict=True)))


def shown(ids: Sequence[str], titles: Mapping[str, str]) -> tuple[str, ...]:
    """Words for WordNet ids, no two alike: the given titles, else WordNet's; an id that has none stays."""
    words = class_words("imagenet") | dict(titles) | imagenet_own()
    return tuple(words.get(one, one) for one in ids)


def synset_titles(root: Path) -> dict[str, str]:
    """WordNet id -> words, from LOC_synset_mapping.txt nearby; empty if there is none."""
    path = _nearby(root, "LOC_synset_mapping.txt")
    lines = read_text(path).splitlines() if path else []
    return dict(line.strip().split(" ", 1) for line in lines if " " in line.strip())


def _nearby(root: Path, name: str) -> Path | None:
    places = [root, *list(root.resolve().parents)[:3]]
    return next((place / name for place in places if (place / name).is_file()), None)


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
