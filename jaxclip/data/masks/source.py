"""Pictures with masks: what a source of them gives."""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image


class Masked(NamedTuple):
    """One picture, and its mask where there is one; `name` tells it apart. The picture is in its own mode, as
    `jaxclip.files.images.read_picture` gives it: colours are converted where the model's preprocessing does it."""

    name: str
    image: Image.Image
    mask: np.ndarray | None


@runtime_checkable
class MaskedSource(Protocol):
    """Pictures in a fixed order. `class_names` are those of labels 1 and up, None where the data does not say."""

    @property
    def kind(self) -> str: ...

    @property
    def class_names(self) -> tuple[str, ...] | None: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Masked: ...


def checked(name: str, picture: Image.Image, mask: np.ndarray | None) -> Masked:
    """Refuse a mask of another size than its picture."""
    if mask is not None and mask.shape != (picture.height, picture.width):
        raise ValueError(
            f"the mask of {name} must be {picture.height} x {picture.width} pixels (height x width), as the picture "
            f"is; got {' x '.join(map(str, mask.shape))}."
        )
    return Masked(name, picture, mask)


class Maskless:
    """A source without its masks."""

    def __init__(self, source: MaskedSource):
        self.source, self.kind, self.class_names = source, source.kind, source.class_names

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Masked:
        return self.source[index]._replace(mask=None)
