"""Reading and decoding in threads while the device computes; every batch has the same shape.

Pillow lets go of Python's lock while it decodes and resizes, so threads are enough, and order does not depend on them.
"""

import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

import grain
import numpy as np
from jaxtyping import Float, Int

from jaxclip.config import PreprocessConfig
from jaxclip.data.source import UNLABELLED, Example, Source
from jaxclip.preprocess import preprocess


class Batch(NamedTuple):
    """Images of one step. Padding and images that could not be read are black and have weight 0.

    `names` and `errors` are of the real images alone; an error is the reason why an image could not be read.
    """

    images: Float[np.ndarray, "batch height width channel"]
    weights: Float[np.ndarray, "batch"]
    labels: dict[str, Int[np.ndarray, "batch"]]
    names: list[str]
    errors: list[str | None]


class Read(NamedTuple):
    """A decoded example, or why there is none."""

    name: str
    labels: dict[str, int]
    pixels: np.ndarray | None
    error: str | None


class Reader:
    """A source whose images come preprocessed."""

    def __init__(self, source: Source, config: PreprocessConfig, apply_exif: bool):
        self.source, self.config, self.apply_exif = source, config, apply_exif

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Read:
        example: Example = self.source[index]
        labels = dict(example.labels)
        try:
            pixels = preprocess(example.image, self.config, apply_exif=self.apply_exif)[0]
        except (ValueError, FileNotFoundError) as error:
            _check_reading(example.name, error.__cause__)
            return Read(example.name, labels, None, str(error))
        return Read(example.name, labels, pixels, None)


OWN_FAULT = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What a file itself can be to blame for; any other number of an error is the machine's, and may be gone next time."""


def _check_reading(name: str, cause: BaseException | None) -> None:
    """An image that a failing disk hides is no unreadable one: what a pass leaves must not depend on that day's luck.

    Raises:
      OSError: it was the machine that failed.
    """
    code = getattr(cause, "errno", None)
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and code is not None and code not in OWN_FAULT):
        raise OSError(
            f"{name} could not be read just now ({cause or 'out of memory'}) and what was done so far is kept; run the "
            f"same command again, or take the image out of the data if it stays so"
        ) from cause


def n_batches(source: Source, size: int) -> int:
    """How many steps a pass takes; the last may be padded."""
    return -(-len(source) // size)


def batches(
    source: Source,
    config: PreprocessConfig,
    size: int,
    *,
    start: int = 0,
    apply_exif: bool = False,
    n_threads: int | None = None,
) -> Iterator[Batch]:
    """Batches in the source's order: batch i holds images i * size to (i + 1) * size - 1, however it is read.

    Args:
      source: the images.
      config: the checkpoint's preprocessing.
      size: of every batch.
      start: the batch to begin with.
      apply_exif: turn photographs as their EXIF tag says; OpenCLIP does not.
      n_threads: that read; by default one for each processor, at most 16.

    Raises:
      OSError: the disk or the network failed while an image was read.
    """
    reader = Reader(source, config, apply_exif)
    if start * size >= len(reader):
        return
    threads = n_threads or min(16, os.cpu_count() or 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * size, threads))
    held: list[Read] = []
    for read in grain.MapDataset.source(reader)[start * size :].to_iter_dataset(options):
        held.append(read)
        if len(held) == size:
            yield _batch(held, source, config, size)
            held = []
    if held:
        yield _batch(held, source, config, size)


def _batch(reads: list[Read], source: Source, config: PreprocessConfig, size: int) -> Batch:
    images, weights = np.zeros((size, *config.size, 3), np.float32), np.zeros(size, np.float32)
    labels = {kind: np.full(size, UNLABELLED, np.int32) for kind in source.label_names}
    for place, read in enumerate(reads):
        if read.pixels is not None:
            images[place], weights[place] = read.pixels, 1
        for kind, names in source.label_names.items():
            label = read.labels[kind]
            if not UNLABELLED <= label < len(names):
                raise ValueError(f"{read.name}: {kind} is {label}, but there are {len(names)} of them; correct it.")
            labels[kind][place] = label
    return Batch(images, weights, labels, [read.name for read in reads], [read.error for read in reads])
