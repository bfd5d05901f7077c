"""Caltech-UCSD Birds-200-2011 in its own layout."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxclip.data.class_names import readable
from jaxclip.data.image_folders import Files
from jaxclip.data.source import Labels
from jaxclip.data.tables import read_text
from jaxclip.files.plain import is_there


class Cub(Files):
    """images.txt, image_class_labels.txt, classes.txt and train_test_split.txt beside images/; every line begins with
    the id that belongs together, and files are joined by it. `label` counts from 0 in the order of classes.txt, `split`
    is 0 for training and 1 for test.
    """

    kind = "cub"
    SPLITS = ("train", "test")
    FILES = ("images.txt", "image_class_labels.txt", "classes.txt", "train_test_split.txt")

    def __init__(self, root: Path, split: str | None = None):
        split = split or "test"
        if split not in (*self.SPLITS, "all"):
            raise ValueError(f"CUB has the splits {', '.join(self.SPLITS)} and all; got {split!r}.")
        images, labels, classes, training = (_pairs(root / name) for name in self.FILES)
        for name, found in (("image_class_labels.txt", labels), ("train_test_split.txt", training)):
            if missing := images.keys() - found.keys():
                raise ValueError(f"{root / name} has no line for image {min(missing)}; unpack the data set again.")
        if unknown := {label for image, label in labels.items() if image in images} - classes.keys():
            raise ValueError(f"{root / 'classes.txt'} has no class {min(unknown)}; unpack the data set again.")
        if wrong := set(training.values()) - {"0", "1"}:
            raise ValueError(f"{root / 'train_test_split.txt'} must hold 0 or 1; got {min(wrong)!r}.")
        places = {name: place for place, name in enumerate(classes)}
        # 1 stands for training there.
        split_of = {image: 1 - int(value) for image, value in training.items()}
        chosen = [image for image in images if split == "all" or split_of[image] == self.SPLITS.index(split)]
        values = np.array([places[labels[image]] for image in chosen], np.int32)
        splits = np.array([split_of[image] for image in chosen], np.int32)
        names = readable(list(classes.values()))
        kinds = {"label": Labels(values, names), "split": Labels(splits, self.SPLITS)}
        super().__init__(root, [f"images/{images[image]}" for image in chosen], kinds)


def is_cub(root: Path) -> bool:
    """Tell whether a folder has the data set's four lists."""
    return all(is_there(root / name) for name in Cub.FILES)


def _pairs(path: Path) -> Mapping[str, str]:
    """Id -> the rest of its line."""
    if not is_there(path):
        raise FileNotFoundError(f"{path} is missing; pass the folder that holds {', '.join(Cub.FILES)}.")
    lines = [line.split(None, 1) for line in read_text(path).splitlines() if line.strip()]
    if not lines or any(len(line) != 2 for line in lines):
        raise ValueError(f"{path} must hold an id and a value on every line.")
    found = {key: value.strip() for key, value in lines}
    if len(found) != len(lines):
        raise ValueError(f"{path} has an id twice; unpack the data set again.")
    return found
