"""Pictures that are shown as well as looked at, out of files."""

import warnings
from typing import Any

from PIL import Image

from jaxclip.image_files import open_image
from jaxclip.preprocess import is_turned, upright


class PictureReader:
    """Reads image files in RGB.

    Args:
      apply_exif: turn photographs the way their EXIF orientation says. OpenCLIP does not, so None leaves them as stored
        and warns, once for all of them; False does so without a warning.
    """

    def __init__(self, apply_exif: bool | None = None):
        self._apply_exif = apply_exif

    def read(self, file: Any, name: str) -> Image.Image:
        """One picture.

        Raises:
          ValueError: it cannot be read; naming it.
        """
        try:
            with open_image(file) as opened:
                ignored = self._apply_exif is None and is_turned(opened)
                picture = (upright(opened) if self._apply_exif else opened).convert("RGB")
        except Exception as error:  # a damaged file can raise nearly anything from Pillow's parsers
            raise ValueError(f"{name}: this is no image that Pillow can read ({error}).") from error
        picture.info.clear()  # what it says of its orientation is settled
        if ignored:
            self._apply_exif = False
            warnings.warn(
                f"{name}, and what else carries an EXIF orientation, is read as stored: OpenCLIP ignores it. Pass "
                f"apply_exif=True to turn such pictures.",
                stacklevel=3,
            )
        return picture
