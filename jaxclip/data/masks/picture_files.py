"""Pictures that are shown as well as looked at, out of files."""

from typing import Any

from PIL import Image

from jaxclip.files.images import explained, read_picture
from jaxclip.preprocess import remark


class PictureReader:
    """Reads the image files of one data set, as `jaxclip.preprocess.preprocess` does.

    Args:
      apply_exif: turn photographs the way their EXIF orientation says. CLIP's libraries do not, so None leaves them as
        stored and warns, once for all of them; False does so without a warning.
    """

    def __init__(self, apply_exif: bool | None = None):
        self._apply_exif, self._said = apply_exif, set[str]()

    def read(self, file: Any, name: str) -> Image.Image:
        """One picture in its own mode: the model's preprocessing converts it, and `jaxclip.preprocess.shown`.

        Raises:
          ValueError: it cannot be read; naming it.
        """
        with explained(name):
            picture = read_picture(file, apply_exif=self._apply_exif)
        remark([name] * (picture.is_turned and self._apply_exif is None), [name] * picture.is_first, 1, self._said)
        image = picture.image.copy()  # no file any more, which could have frames
        image.info.clear()  # what it says of its orientation is settled
        return image
