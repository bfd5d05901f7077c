"""The one place where a picture is opened and becomes pixels: formats by name, regular files only, a limit on their
pixels. What a model sees and what is shown of it both begin with `read_picture`.

Pillow knows some seventy formats and picks one by a file's content. Among them are EPS, which it hands to Ghostscript,
a program that runs what the file says, and stubs that other packages fill; none of them is what photographs come in.
"""

import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxclip.files.plain import NotPlain, open_plain

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
"""All are decoded inside Pillow, but for HEIF, which pillow-heif decodes where it is installed (it comes with
`jaxclip[heic]`). MPO is how some cameras write JPEG, and Pillow opens it as that."""

PILLOWS_LIMIT = 1024 * 1024 * 1024 // 4 // 3
"""Pixels of the largest picture that Pillow opens without a word: `PIL.Image.MAX_IMAGE_PIXELS` as it comes."""
PIXELS_PER_BYTE = 100
"""Of a file that is larger than that. A JPEG of one colour has 64 and a photograph about 4; in a file that is made to
fill the memory there are thousands."""

Opened = io.BufferedReader | io.BytesIO
HEIC_BRANDS = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))


class Picture(NamedTuple):
    """A picture as it is read: its first frame, in its own mode, with eight bits a channel.

    `is_turned` says that EXIF data ask for it to be turned and nobody did; `is_first` that more frames follow it.
    """

    image: Image.Image
    is_turned: bool
    is_first: bool


def read_picture(image: Any, *, apply_exif: bool | None = None) -> Picture:
    """A picture out of a file, bytes, an array or what Pillow has opened already.

    16-bit greyscale is scaled to 8 bits: Pillow's conversion would turn everything above 255 white.

    Args:
      image: as `jaxclip.preprocess.ImageLike` says.
      apply_exif: turn a photograph the way its EXIF orientation says.

    Raises:
      ValueError: it is empty, or of a mode with no agreed white; and whatever Pillow raises of damaged files, which is
        nearly anything: see `explained`.
    """
    if isinstance(image, (str, Path, bytes, io.BytesIO)):
        with open_image(image) as opened:
            is_first = has_frames(opened)
            load(opened)
    elif isinstance(image, Image.Image):
        opened, is_first = image, False  # its frame is the caller's choice
        opened.load()
    elif hasattr(image, "__array__"):
        opened, is_first = _from_array(np.asarray(image)), False
    else:
        raise ValueError(f"expected a Pillow image, a path, bytes or a uint8 array; got {type(image).__name__}.")
    if min(opened.size) < 1:
        raise ValueError(f"the image is empty, {opened.width} x {opened.height} pixels.")
    turned = is_turned(opened)
    return Picture(to_eight_bits(upright(opened) if apply_exif else opened), turned and not apply_exif, is_first)


@contextmanager
def open_image(file: str | Path | bytes | io.BytesIO, beside: Callable[[], int] = lambda: 0) -> Iterator[Image.Image]:
    """An image whose pixels are not decoded yet, for as long as its file is open.

    A path is opened once, and what was opened is looked at: nothing can take its place in between.

    Args:
      file: a path, or the content of a file.
      beside: pixels of a picture that this one belongs to; it may have as many, if that may.

    Raises:
      FileNotFoundError: there is no such file.
      PIL.UnidentifiedImageError: it has none of `FORMATS`.
      PIL.Image.DecompressionBombError: it has more pixels than `most_pixels`, where Pillow itself only warns up to
        twice as many.
      ValueError: the path is no regular file (reading a pipe or a device need never end), or it is HEIC and
        pillow-heif is not installed.
    """
    with _file(file) as held, _undecoded(held, _n_bytes(held), beside) as opened:
        yield opened


def _file(file: str | Path | bytes | io.BytesIO) -> AbstractContextManager[Opened]:
    if isinstance(file, bytes | io.BytesIO):
        return nullcontext(io.BytesIO(file) if isinstance(file, bytes) else file)
    try:
        return open_plain(file)
    except NotPlain as error:
        raise ValueError("expected a file with an image; this is a folder, a pipe or a device.") from error


def _n_bytes(file: Opened) -> int:
    return file.getbuffer().nbytes if isinstance(file, io.BytesIO) else os.fstat(file.fileno()).st_size


def _undecoded(file: Opened, n_bytes: int, beside: Callable[[], int]) -> Image.Image:
    """What an open file holds, within the limit on its pixels."""
    most = most_pixels(n_bytes)
    try:
        try:
            opened = Image.open(file, formats=_known())
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            most = most and max(most, beside())
            with _allowing(most):
                opened = Image.open(file, formats=_known())
        if most is not None and opened.width * opened.height > most and opened.width * opened.height > beside():
            opened.close()
            raise Image.DecompressionBombError
    except UnidentifiedImageError as error:
        _refuse_heic(file)
        raise UnidentifiedImageError("it has none of the formats that are read") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        few = f", and {n_bytes} bytes are few for so many" if _limit() == PILLOWS_LIMIT else ""
        raise Image.DecompressionBombError(f"it has more than Pillow's limit of {_limit()} pixels{few}") from error
    return opened


def n_pixels(file: str | Path | bytes) -> int:
    """Count an image's pixels, by its header."""
    with open_image(file) as opened:
        return opened.width * opened.height


def load(opened: Image.Image) -> None:
    """Decode what `open_image` opened."""
    n, limit = opened.width * opened.height, _limit()
    with _allowing(n) if limit is not None and n > limit else nullcontext():
        opened.load()


def most_pixels(n_bytes: int) -> int | None:
    """How many pixels a file of that size may have; None where there is no limit.

    Pillow's limit, `PIL.Image.MAX_IMAGE_PIXELS`, as it was set or switched off. Where nobody set it, a larger file than
    that of a small trap may have more: what is read stays in proportion to what there is to be read.
    """
    limit = _limit()
    return max(limit, PIXELS_PER_BYTE * n_bytes) if limit == PILLOWS_LIMIT else limit


@contextmanager
def explained(name: str | Path) -> Iterator[None]:
    """Whatever goes wrong with a picture in here becomes one sentence that names it.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: anything else.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{name}: there is no such file.") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ValueError(
            f"{name}: {error}; if you trust it, add --any-size to the command, or set PIL.Image.MAX_IMAGE_PIXELS to "
            f"None in Python."
        ) from error
    except UnidentifiedImageError as error:
        raise ValueError(f"{name}: this is no image that Pillow can read, or it is empty.") from error
    except Exception as error:  # a damaged file can raise nearly anything from Pillow's parsers
        raise ValueError(f"{name}: {error}") from error


@cache
def suffixes() -> frozenset[str]:
    """List what names of files in one of `FORMATS` end in, in lower case."""
    known = _known()
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in known)


def has_frames(image: Image.Image) -> bool:
    """Tell whether an image is the first of several in its file, an animation's or a document's. What cameras put
    behind a photograph in the same file does not count."""
    try:
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame is none, and the first is sound
        return False


def to_eight_bits(image: Image.Image) -> Image.Image:
    """Convert a picture to eight bits a channel.

    Raises:
      ValueError: it has 32, and nothing says which number is white.
    """
    sixteen = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if sixteen:
        # The nearest of 256 greys, 257 apart; no number lies in the middle between two.
        return Image.fromarray(((np.asarray(image).astype(np.uint32) + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode} has 32 bits a pixel and no agreed white; scale it to uint8 first.")
    return image


def upright(image: Image.Image) -> Image.Image:
    """A photograph turned the way its EXIF orientation says; as it is where that says nothing."""
    return ImageOps.exif_transpose(image) if is_turned(image) else image


def is_turned(image: Image.Image) -> bool:
    """Tell whether its EXIF data says that it is to be shown otherwise than it is stored."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
    except Exception:  # damaged EXIF data says nothing, and the pixels are sound
        return False


@cache
def _known() -> tuple[str, ...]:
    """List the formats that can be read here."""
    Image.init()
    try:
        heif: Any = import_module("pillow_heif")  # an extra
    except ImportError:
        pass
    else:
        heif.register_heif_opener()
    return tuple(name for name in FORMATS if name in Image.OPEN)


_DECODING, _SWITCHING = threading.Lock(), threading.Lock()
_lifted: list[int | None] = []
"""Pillow's limit as it was, while it is another."""


@contextmanager
def _allowing(n: int | None) -> Iterator[None]:
    """Pictures of so many pixels, one at a time: Pillow has one limit for the whole process, whatever a file's size,
    and its decoders ask for it too."""
    with _DECODING:
        with _SWITCHING:
            _lifted.append(Image.MAX_IMAGE_PIXELS)
            Image.MAX_IMAGE_PIXELS = n
        try:
            yield
        finally:
            with _SWITCHING:
                Image.MAX_IMAGE_PIXELS = _lifted.pop()


def _limit() -> int | None:
    with _SWITCHING:
        return _lifted[0] if _lifted else Image.MAX_IMAGE_PIXELS


def _refuse_heic(file: Opened) -> None:
    file.seek(0)
    beginning = file.read(16)
    if "HEIF" not in _known() and beginning[4:8] == b"ftyp" and beginning[8:12] in HEIC_BRANDS:
        raise ValueError("this is HEIC, which pillow-heif reads: pip install 'jaxclip[heic]'.")


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (3, 4)):
        raise ValueError(f"pixels must be [height, width, 3], channels last; got shape {pixels.shape}.")
    if pixels.dtype != np.uint8:
        raise ValueError(
            f"pixels must be uint8, 0 to 255; got {pixels.dtype}. Images that are normalised already need no "
            "preprocessing: pass them to clip.vision."
        )
    return Image.fromarray(np.ascontiguousarray(pixels))
