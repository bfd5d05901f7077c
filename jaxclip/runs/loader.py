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
from jaxclip.data.stamps import Listing
from jaxclip.preprocess import preprocess
from jaxclip.runs.decoding import DECODING, Room, declared_bytes
from jaxclip.runs.order import Order


class Batch(NamedTuple):
    """Images of one step. Padding and images that could not be read are black and have weight 0.

    `rows` are the images' numbers, -1 for padding; an error is the reason why an image could not be read.
    """

    rows: Int[np.ndarray, "batch"]
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
    """Images of a source by a list of their numbers, preprocessed; -1 is padding.

    Args:
      listing: what files with one image each were when the pass began; by default nobody asks.
      room: that pictures are decoded in.
    """

    def __init__(
        self,
        source: Source,
        config: PreprocessConfig,
        rows: Int[np.ndarray, "n"],
        apply_exif: bool,
        listing: Listing | None = None,
        room: Room | None = None,
    ):
        self.source, self.config, self.rows, self.apply_exif = source, config, rows, apply_exif
        self.listing, self.room = listing, room or Room()
        self._said: set[str] = set()  # a pass warns once, not once an image

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Read:
        if (row := int(self.rows[index])) < 0:
            return Read("", {}, None, None)
        example: Example = self.source[row]
        self._check(row)
        read = self._read(example)
        self._check(row)  # it was the same before and after, so it is this that was read
        return read

    def _read(self, example: Example) -> Read:
        labels = dict(example.labels)
        try:
            with self.room.taken(declared_bytes(example.image, self.apply_exif)):
                pixels = preprocess(example.image, self.config, apply_exif=self.apply_exif, said=self._said)[0]
        except (ValueError, FileNotFoundError) as error:
            _check_reading(example.name, error.__cause__)
            return Read(example.name, labels, None, str(error))
        return Read(example.name, labels, pixels, None)

    def _check(self, row: int) -> None:
        if self.listing is not None and self.listing.stored.one_each:
            self.listing.check(row)


OWN_FAULT = (errno.ENOENT, errno.EISDIR, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""What a file itself can be to blame for; any other number of an error is the machine's, and may be gone next time."""
FORBIDDEN = (errno.EACCES, errno.EPERM)
"""What depends on who asks, and must not decide a result."""


def _check_reading(name: str, cause: BaseException | None) -> None:
    """An image that a failing disk hides is no unreadable one: what a pass leaves must not depend on that day's luck.

    Raises:
      OSError: it was the machine that failed, or this user may not read the image.
    """
    code = getattr(cause, "errno", None)
    if isinstance(cause, OSError) and code in FORBIDDEN:
        raise PermissionError(
            f"{name} may not be read by this user ({cause.strerror}); what was done so far is kept. Grant access and "
            f"run the same command again, or take the image out of the data"
        ) from cause
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and code is not None and code not in OWN_FAULT):
        raise OSError(
            f"{name} could not be read just now ({cause or 'out of memory'}) and what was done so far is kept; run the "
            f"same command again, or take the image out of the data if it stays so"
        ) from cause


def batches(
    source: Source,
    config: PreprocessConfig,
    order: Order,
    *,
    share: range | None = None,
    start: int = 0,
    apply_exif: bool = False,
    n_threads: int | None = None,
    listing: Listing | None = None,
    decoding: int = int(DECODING * 2**30),
) -> Iterator[Batch]:
    """A host's part of every batch, in order: which images that are does not depend on how they are read.

    Args:
      source: the images.
      config: the checkpoint's preprocessing.
      order: of the pass.
      share: the parts of this host; by default all.
      start: the step to begin with.
      apply_exif: turn photographs as their EXIF tag says; CLIP's libraries do not.
      n_threads: that read; by default one for each processor, at most 16.
      listing: what the files were when the pass began.
      decoding: bytes that pictures may take together while they are decoded; it decides how many are at once.

    Raises:
      OSError: the disk or the network failed while an image was read, or this user may not read it.
      DataChanged: a file is not what it was.
    """
    rows = order.rows(range(start, order.n_steps), range(order.parts) if share is None else share)
    reader = Reader(source, config, rows.ravel(), apply_exif, listing, Room(decoding))
    threads = n_threads or min(16, os.cpu_count() or 1)
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(2 * rows.shape[1], threads))
    reads = iter(grain.MapDataset.source(reader).to_iter_dataset(options)) if len(reader) else iter(())
    for own in rows:
        yield _batch(own, [next(reads) for _ in own], source, config)


def _batch(rows: Int[np.ndarray, "batch"], reads: list[Read], source: Source, config: PreprocessConfig) -> Batch:
    images, weights = np.zeros((len(rows), *config.size, 3), np.float32), np.zeros(len(rows), np.float32)
    labels = {kind: np.full(len(rows), UNLABELLED, np.int32) for kind in source.label_names}
    for place, read in enumerate(reads):
        if read.pixels is not None:
            images[place], weights[place] = read.pixels, 1
        for kind, names in source.label_names.items() if rows[place] >= 0 else ():
            label = read.labels[kind]
            if not UNLABELLED <= label < len(names):
                raise ValueError(f"{read.name}: {kind} is {label}, but there are {len(names)} of them; correct it.")
            labels[kind][place] = label
    return Batch(rows, images, weights, labels, [read.name for read in reads], [read.error for read in reads])
