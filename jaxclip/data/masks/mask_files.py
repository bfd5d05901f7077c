"""Masks as files: PNGs whose pixels are labels and whose palette tells them apart."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer
from PIL import Image

from jaxclip.axes import AnyArray
from jaxclip.data.tables import read_text
from jaxclip.files.images import load, open_image
from jaxclip.files.whole import write_whole
from jaxclip.numerics.arrays import counted


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
    return save_png(image, path)


def save_png(image: Image.Image, path: Path) -> Path:
    """Write a picture as PNG, whole or not at all."""
    encoded = io.BytesIO()
    image.save(encoded, format="PNG")
    write_whole(path, encoded.getvalue())
    return path


class Raw(NamedTuple):
    """The numbers of a mask file; `is_lossy` says that its format does not keep them."""

    values: Integer[np.ndarray, "row column"]
    is_lossy: bool


def read_mask(
    file: Path | io.BytesIO, name: str | None = None, beside: Callable[[], int] = lambda: 0
) -> Integer[np.ndarray, "row column"]:
    """The numbers in a mask file, as `read_raw` has them."""
    return read_raw(file, name, beside=beside).values.astype(np.int32)


def read_raw(
    file: Path | io.BytesIO,
    name: str | None = None,
    colours: Sequence[tuple[int, int, int]] | None = None,
    beside: Callable[[], int] = lambda: 0,
) -> Raw:
    """The numbers in a mask file: its greys, or the places in its palette.

    A palette of black and white alone says no more than that, wherever the two stand in it: black is 0, white is 255.
    Grey that is stored as red, green and blue is grey.

    Args:
      name: for errors, where the file has none.
      colours: red, green and blue of label 0, 1, ..., of masks whose pixels are colours.
      beside: pixels of the picture that it is the mask of; masks are small files, whatever the size of the picture.

    Raises:
      ValueError: no image, or one whose pixels are colours that nobody named.
    """
    name = name or getattr(file, "name", "the mask")
    try:
        with open_image(file, beside) as image:
            is_lossy = image.format in ("JPEG", "MPO") or (image.format == "WEBP" and not image.info.get("lossless"))
            load(image)
            pixels = np.asarray(image.convert("RGB")) if colours is not None else _grey(image)
    except Exception as error:  # a damaged file can raise nearly anything from Pillow's parsers
        raise ValueError(f"{name}: this is no mask that Pillow can read ({error}).") from error
    if colours is not None:
        return Raw(_by_colour(pixels, colours, str(name)), is_lossy)
    if pixels.ndim == 3:
        raise ValueError(
            f"{name} must hold labels (palette or greyscale); its pixels are {image.mode}. If colours stand for "
            f"classes, pass them as mask_colours=...."
        )
    if pixels.dtype.kind not in "uib" or pixels.min(initial=0) < 0:
        raise ValueError(f"{name} must hold labels, whole numbers from 0; its pixels are {image.mode}.")
    return Raw(pixels.astype(np.uint8) if pixels.dtype == bool else pixels, is_lossy)


def read_colours(source: str | Path) -> tuple[tuple[int, int, int], ...]:
    """Colours of labels: "voc" for Pascal VOC's, or a file with red, green and blue of label 0, 1, ... a line; what
    follows them, such as a name, is for people.

    Raises:
      ValueError: a line without three numbers from 0 to 255, or a colour twice.
    """
    if str(source) == "voc":
        levels = palette()
        return tuple(zip(levels[::3], levels[1::3], levels[2::3], strict=True))
    lines = [line.replace(",", " ").split() for line in read_text(Path(source)).splitlines() if line.strip()]
    colours = []
    for number, line in enumerate(lines, 1):
        if len(line) < 3 or not all(word.isascii() and word.isdigit() and int(word) < 256 for word in line[:3]):
            raise ValueError(f"{source}, line {number}, must begin with red, green and blue from 0 to 255.")
        colours.append((int(line[0]), int(line[1]), int(line[2])))
    if len(set(colours)) < len(colours) or not colours:
        raise ValueError(f"{source} must name every label's colour once; got {counted(len(colours), 'line')}.")
    return tuple(colours)


def _grey(image: Image.Image) -> np.ndarray:
    """One number a pixel, or, where they are colours, three."""
    if image.mode == "P":
        places, colours = np.asarray(image), np.array(image.getpalette("RGB") or (), np.uint8).reshape(-1, 3)
        plain = len(colours) > places.max(initial=0) and set(map(tuple, colours.tolist())) == {(0,) * 3, (255,) * 3}
        return colours[:, 0][places] if plain else places
    if image.mode in ("RGBA", "LA"):
        if image.getchannel("A").getextrema() != (255, 255):
            return np.asarray(image)
        image = image.convert("RGB" if image.mode == "RGBA" else "L")
    pixels = np.asarray(image)
    is_grey = pixels.ndim == 3 and image.mode == "RGB" and (pixels == pixels[..., :1]).all()
    return pixels[..., 0] if is_grey else pixels


def _by_colour(pixels: np.ndarray, colours: Sequence[tuple[int, int, int]], name: str) -> np.ndarray:
    """The label of each colour."""
    weights = np.array([1 << 16, 1 << 8, 1])
    own, codes = np.array(colours) @ weights, pixels.astype(np.int32) @ weights
    order = np.argsort(own)
    place = np.minimum(np.searchsorted(own[order], codes), len(own) - 1)
    labels = order[place]
    if (wrong := own[labels] != codes).any():
        raise ValueError(
            f"{name} has the colour {tuple(pixels[wrong][0].tolist())}, which is none of mask_colours=...."
        )
    return labels.astype(np.int32)
