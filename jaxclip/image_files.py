"""The one place where image files are opened: formats by name, regular files only, and a limit on their pixels.

Pillow knows some seventy formats and picks one by a file's content. Among them are EPS, which it hands to Ghostscript,
a program that runs what the file says, and stubs that other packages fill; none of them is what photographs come in.
"""

import io
import stat
from functools import cache
from pathlib import Path

from PIL import Image

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
"""All are decoded inside Pillow. MPO is how some cameras write JPEG, and Pillow opens it as that."""


def open_image(file: str | Path | bytes | io.BytesIO) -> Image.Image:
    """An image whose pixels are not decoded yet; to be closed by the caller, as `PIL.Image.open`'s.

    Args:
      file: a path, or the content of a file.

    Raises:
      FileNotFoundError: there is no such file.
      PIL.UnidentifiedImageError: it has none of `FORMATS`.
      PIL.Image.DecompressionBombError: it has more pixels than `PIL.Image.MAX_IMAGE_PIXELS`, where Pillow itself only
        warns up to twice as many.
      ValueError: the path is no regular file; reading a pipe or a device need never end.
    """
    if isinstance(file, (str, Path)) and not stat.S_ISREG(Path(file).stat().st_mode):
        raise ValueError("expected a file with an image; this is a folder, a pipe or a device.")
    opened = Image.open(io.BytesIO(file) if isinstance(file, bytes) else file, formats=_known())
    limit = Image.MAX_IMAGE_PIXELS
    if limit is not None and opened.width * opened.height > limit:
        opened.close()
        raise Image.DecompressionBombError(f"{opened.width} x {opened.height} pixels are more than {limit}")
    return opened


@cache
def suffixes() -> frozenset[str]:
    """What names of files in one of `FORMATS` end in, in lower case."""
    return frozenset(suffix for suffix, kind in Image.registered_extensions().items() if kind in FORMATS)


@cache
def _known() -> tuple[str, ...]:
    """The formats that this build of Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
