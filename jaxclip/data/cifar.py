"""CIFAR-10 and CIFAR-100 in their binary version; the Python version is made of pickles, which can run code when read,
and is not read. What tensorflow-datasets prepared is read by `TfdsSource`."""

import os
from pathlib import Path
from typing import ClassVar

import numpy as np

from jaxclip.data.class_names import class_words
from jaxclip.data.source import Example, Stored, digest
from jaxclip.data.tables import read_text
from jaxclip.files.plain import is_there, open_plain
from jaxclip.numerics.arrays import counted

SIDE, PIXELS = 32, 3 * 32 * 32


class Cifar:
    """Images of 32 x 32 pixels, with `label` and, for CIFAR-100, `coarse` (its twenty superclasses).

    A record is its label bytes, then all red, all green and all blue values, row by row. Names of the classes are the
    data set's own; `jaxclip.data.class_names` has words for them.
    """

    kind = "cifar"
    LAYOUTS: ClassVar[dict[str, dict[str, list[str]]]] = {
        "cifar10": {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
        "cifar100": {"train": ["train.bin"], "test": ["test.bin"]},
    }
    # Kind of label, in the order of a record's bytes -> where names stand beside the data, and in class_words.
    NAMES: ClassVar[dict[str, dict[str, tuple[str, str]]]] = {
        "cifar10": {"label": ("batches.meta.txt", "cifar10")},
        "cifar100": {
            "coarse": ("coarse_label_names.txt", "cifar100_coarse"), "label": ("fine_label_names.txt", "cifar100"),
        },
    }  # fmt: skip

    def __init__(self, root: Path, split: str | None = None):
        self.root, self.split = root, split or "test"
        which = next((name for name, files in self.LAYOUTS.items() if is_there(root / files["test"][0])), None)
        if which is None:
            raise FileNotFoundError(
                f"{root} holds neither test_batch.bin (CIFAR-10) nor test.bin (CIFAR-100); pass the folder of the "
                f"binary version."
            )
        if self.split not in self.LAYOUTS[which]:
            raise ValueError(f"CIFAR has the splits {', '.join(self.LAYOUTS[which])}; got {split!r}.")
        self.label_names = {kind: _names(root / file, data) for kind, (file, data) in self.NAMES[which].items()}
        self.files = [root / name for name in self.LAYOUTS[which][self.split]]
        self._records = [self._opened(path) for path in self.files]
        self._ends = np.cumsum([len(records) for records in self._records])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, index: int) -> Example:
        if not 0 <= index < len(self):
            raise IndexError(index)
        file = int(np.searchsorted(self._ends, index, side="right"))
        record = self._records[file][index - (self._ends[file - 1] if file else 0)]
        labels = {kind: int(record[place]) for place, kind in enumerate(self.label_names)}
        image = record[len(labels) :].reshape(3, SIDE, SIDE).transpose(1, 2, 0)
        return Example(f"{self.split}/{index:05d}", np.ascontiguousarray(image), labels)

    def fingerprint(self) -> str:
        """Of the files' names, sizes and times of change."""
        stamps = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files]
        return digest([self.kind, self.split, stamps])

    def stored(self) -> Stored:
        return Stored(len(self.files), lambda number: self.files[number], False)

    def _opened(self, path: Path) -> np.ndarray:
        length = len(self.label_names) + PIXELS
        if not is_there(path):
            raise FileNotFoundError(f"{path} is missing; unpack the data set again.")
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if not size or size % length:
                raise ValueError(
                    f"{path} must hold records of {length} bytes; it has {size}. Unpack the data set again."
                )
            records = np.memmap(file, np.uint8, "r").reshape(-1, length)
        for place, (kind, names) in enumerate(self.label_names.items()):
            if (largest := int(records[:, place].max())) >= len(names):
                raise ValueError(f"{path}: {kind} must be below {len(names)}; got {largest}. Unpack it again.")
        return records


def _names(path: Path, data: str) -> tuple[str, ...]:
    """From the data set's own list where it lies beside the images; it says which number is which class."""
    if not is_there(path):
        return tuple(class_words(data))
    names = tuple(read_text(path).split())
    if sorted(names) != sorted(class_words(data)):
        raise ValueError(
            f"{path} must name the {len(class_words(data))} classes of {data}; got {counted(len(names), 'name')}."
        )
    return names


def is_cifar(root: Path) -> bool:
    """Tell whether a folder holds the binary version of either."""
    return any(is_there(root / files["test"][0]) for files in Cifar.LAYOUTS.values())
