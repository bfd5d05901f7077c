"""Masks as files: PNGs whose pixels are labels and whose palette tells them apart."""

import io
from pathlib import Path

import numpy as np
from jaxtyping import Integer
from PIL import Image

from jaxclip.axes import AnyArray
from jaxclip.image_files import open_image


def palette(n: int = 256) -> list[int]:
    """Red, green and blue of each label, as Pascal VOC has them: 0 is black, and a label's bits are spread."""
    colours = []
    for label in range(n):
        for channel in range(3):
            bits = ((label >> (3 * k + channel) & 1) << (7 - k) for k in range(3))
            colours.append(sum(bits))
    return colours


def save_mask(labels: Integer[AnyArray, "row column"], path: Path) -> Path:
    """Write a mask as a palette PNG; read back as an array it is the labels again.

    Raises:
      ValueError: labels a byte does not hold, or more than one mask.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or not labels.size or labels.min() < 0 or labels.max() > 255:
        raise ValueError(f"a mask file holds one mask [row, column] of labels 0 to 255; got {list(labels.shape)}.")
    image = Image.fromarray(labels.astype(np.uint8))
    image.putpalette(palette())
    image.save(path, format="PNG")
    return path


def read_mask(file: Path | io.BytesIO, name: str | None = None) -> Integer[np.ndarray, "row column"]:
    """The labels of a palette or greyscale PNG.

    Args:
      name: for errors, where the file has none.

    Raises:
      ValueError: no image, or one whose pixels are colours.
    """
    name = name or getattr(file, "name", "the mask")
    try:
        with open_image(file) as image:
            mode, labels = image.mode, np.asarray(image)
    except Exception as error:  # a damaged file can raise nearly anything from Pillow's parsers
        raise ValueError(f"{name}: this is no mask that Pillow can read ({error}).") from error
    if mode not in ("P", "L", "1", "I", "I;16"):
        raise ValueError(f"{name} must hold labels (palette or greyscale); its pixels are {mode}.")
    return labels.astype(np.int32)
