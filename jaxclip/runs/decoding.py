"""Memory for pictures while they are decoded: as many at once as fit, whatever the number of threads."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from jaxclip.files.images import open_image

DECODING = 1.0
"""GiB that pictures being decoded may take together; a larger picture is decoded by itself."""

OF_MODE = {"1": 1, "L": 1, "P": 1, "LA": 9, "PA": 9, "RGBA": 9, "RGBa": 9, "La": 9, "RGB": 5, "I": 18, "F": 18}
"""Bytes a pixel until it is resized, measured. Pillow holds three channels in four bytes; alpha takes a copy more,
and 16 bits are scaled by NumPy."""

OF_FORMAT = {"WEBP": 13, "JPEG2000": 16, "AVIF": 10, "HEIF": 10, "TIFF": 4}
"""What a decoder takes beside that."""

PROGRESSIVE = 6
"""The same of a JPEG that is stored in passes: all of its coefficients."""


class Room:
    """Bytes that may be taken at once, by threads that wait for each other."""

    def __init__(self, most: int = int(DECODING * 2**30)):
        self.most, self._taken = most, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, n_bytes: int) -> Iterator[None]:
        """Wait until there is room for so many; what is larger than all of it has it alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + n_bytes <= self.most)
            self._taken += n_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken -= n_bytes
                self._changed.notify_all()


def declared_bytes(image: Any, apply_exif: bool = False) -> int:
    """What decoding a picture will take, by its header; 0 for pixels that are there, and for what is no picture."""
    if not isinstance(image, (str, Path, bytes)):
        return 0
    try:
        with open_image(image) as opened:
            return decoded_bytes(opened, apply_exif)
    except Exception:  # why it cannot be read is said when it is read
        return 0


def decoded_bytes(opened: Image.Image, apply_exif: bool = False) -> int:
    """What an image takes that is not decoded yet.

    Args:
      opened: by Pillow.
      apply_exif: it may be turned, which takes a copy.
    """
    own = OF_MODE.get(opened.mode, 18 if opened.mode.startswith("I;") else 5)
    each = own + OF_FORMAT.get(opened.format or "", 0) + own * apply_exif
    progressive = PROGRESSIVE if "progressive" in opened.info else 0
    return opened.width * opened.height * (each + progressive)
