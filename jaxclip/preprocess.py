"""From photographs to the arrays a tower takes, on the host, with Pillow, in the exact order of the checkpoint's own
library. OpenCLIP's: resize in the image's own mode, crop the centre, convert to RGB, scale to [0, 1], normalise.
transformers': lay what is transparent on white and convert to RGB, resize, crop, scale, normalise.

The order matters (palettes and alpha channels) and so does Pillow's antialiased resize: an on-device one differs by up
to three grey levels.
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from jaxclip.config import Library, PreprocessConfig
from jaxclip.files.images import PILLOWS_LIMIT, explained, read_picture
from jaxclip.numerics.arrays import counted

ImageLike = Image.Image | str | Path | bytes | np.ndarray
"""A Pillow image, a file's path, a file's bytes, or pixels `[height, width, 3]` as uint8."""

_FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


def preprocess(
    images: ImageLike | Sequence[ImageLike],
    config: PreprocessConfig,
    *,
    apply_exif: bool | None = None,
    said: set[str] | None = None,
) -> Float[np.ndarray, "batch height width channel"]:
    """Normalise pictures, bit for bit as OpenCLIP's inference transform does, or transformers' image processor on
    Pillow, as `config.library` says.

    `unnormalize(preprocess(images, config), config)` are the resized and cropped pixels.

    16-bit greyscale is the one exception: Pillow's conversion would turn everything above 255 white, so such images are
    scaled to 8 bits first. Of an animation the first frame is taken.

    Args:
      images: one image or a list; a uint8 array `[batch, height, width, 3]` counts as a list.
      config: the checkpoint's own preprocessing.
      apply_exif: turn photographs the way their EXIF orientation says. Neither OpenCLIP nor transformers' processor
        does, nor did the training of OpenCLIP's checkpoints, so None leaves them as stored and warns; False does so
        without a warning.
      said: what was warned of before and is not again, for those who pass one image after another; it grows.

    Raises:
      FileNotFoundError: a path that does not exist.
      ValueError: no images, or one that is broken, empty, too large or of a mode with no agreed white; naming it.
    """
    pixels, turned, first = [], [], []
    for image, name in _named(images):
        with explained(name):
            picture = read_picture(image, apply_exif=apply_exif)
            pixels.append(_to_pixels(picture.image, config))
        turned += [name] * (picture.is_turned and apply_exif is None)
        first += [name] * picture.is_first
    if not pixels:
        raise ValueError("images is empty; pass at least one image.")
    remark(turned, first, len(pixels), set() if said is None else said)
    return normalize(np.stack(pixels), config)


def resize(
    image: Image.Image, size: tuple[int, int], config: PreprocessConfig
) -> UInt8[np.ndarray, "height width channel"]:
    """Resize a whole picture to another height and width, in the colours that `preprocess` gives it: its order of
    resizing and converting, its filter."""
    return _colours(_resized(_entering(image, config), (size[1], size[0]), config))


def shown(image: Image.Image, config: PreprocessConfig) -> UInt8[np.ndarray, "height width channel"]:
    """Show a picture at its own resolution in the colours that the model sees: what figures and overlays show.

    Where it is resized with its alpha channel, what is wholly transparent turns black, in the place of any colour.

    Args:
      image: what `jaxclip.files.images.read_picture` gives.
      config: the checkpoint's own preprocessing.
    """
    image = _entering(image, config)
    if image.mode in ("RGBA", "LA") and _geometry(image.size, config)[0] != image.size:
        image = image.convert({"RGBA": "RGBa", "LA": "La"}[image.mode]).convert(image.mode)
    return _colours(image)


def remark(turned: Sequence[str], first: Sequence[str], n: int, said: set[str]) -> None:
    """Warn of pictures that were read otherwise than they may be expected, once each kind.

    Args:
      turned: those whose EXIF orientation was ignored.
      first: those with more frames than the one that was read.
      n: the number of all.
      said: the kinds that were warned of already.
    """
    if turned and "turned" not in said:
        said.add("turned")
        several = f"{len(turned)} of {n} images, first {turned[0]}, {'carries' if len(turned) == 1 else 'carry'}"
        which = several if n > 1 else f"{turned[0]} carries"
        warnings.warn(
            f"{which} an EXIF orientation, which CLIP's libraries ignore: such images are read as stored. Pass "
            "apply_exif=True to turn them.",
            stacklevel=3,
        )
    if first and "first" not in said:
        said.add("first")
        warnings.warn(
            f"{first[0]} holds several frames or pages, and of every such file the first alone is read.", stacklevel=3
        )


def normalize(
    pixels: UInt8[np.ndarray, "*batch height width channel"], config: PreprocessConfig
) -> Float[np.ndarray, "*batch height width channel"]:
    """Compute `(pixels / 255 - mean) / std` per channel, in float32."""
    # A row of pixels as one vector: over a last axis of three each of these operations takes twice as long.
    across = pixels.shape[-2]
    rows = pixels.reshape(*pixels.shape[:-2], 3 * across).astype(np.float32)
    rows /= np.float32(255)
    rows -= np.tile(np.array(config.mean, np.float32), across)
    rows /= np.tile(np.array(config.std, np.float32), across)
    return rows.reshape(pixels.shape)


def unnormalize(
    images: Float[np.ndarray, "*batch height width channel"], config: PreprocessConfig
) -> UInt8[np.ndarray, "*batch height width channel"]:
    """Turn images into pixels from 0 to 255 again, for figures; `unnormalize(normalize(pixels)) == pixels`."""
    scaled = np.asarray(images, np.float32) * np.array(config.std, np.float32) + np.array(config.mean, np.float32)
    return np.clip(np.rint(scaled * 255), 0, 255).astype(np.uint8)


def crop_box(size: tuple[int, int], config: PreprocessConfig) -> tuple[float, float, float, float]:
    """Find the tower's input on the original image: left, top, right, bottom in the original's pixels.

    A point `(x, y)` of the input, in fractions of its width and height, is `(left + x * (right - left),
    top + y * (bottom - top))` of the original. With padding the box reaches beyond the image.

    Args:
      size: the original's width and height in pixels, as Pillow gives them (after turning, if EXIF was applied).
      config: the checkpoint's own preprocessing.
    """
    (width, height), (left, top) = _geometry(size, config)
    across, down = size[0] / width, size[1] / height
    return left * across, top * down, (left + config.size[1]) * across, (top + config.size[0]) * down


def check_images(images: Any, size: tuple[int, int]) -> None:
    """Refuse what cannot be a batch of normalised images; looks at shape and dtype only, so it also works under jit.

    Args:
      images: what a tower was called with.
      size: the (height, width) the tower takes.

    Raises:
      ValueError: wrong rank, channel order, size or dtype, saying how to put it right.
    """
    shape, wanted = tuple(images.shape), f"[batch, {size[0]}, {size[1]}, 3]"
    if len(shape) != 4:
        hint = " Add a batch axis: images[None]." if len(shape) == 3 else ""
        raise ValueError(f"images must be {wanted}; got shape {shape}.{hint}")
    if shape[3] != 3 and shape[1] == 3:
        raise ValueError(
            f"images must be {wanted}, channels last; got shape {shape}, channels first. "
            "Use images.transpose(0, 2, 3, 1)."
        )
    if shape[1:] != (*size, 3):
        raise ValueError(f"images must be {wanted}; got shape {shape}. Use clip.preprocess on the original images.")
    if not np.issubdtype(images.dtype, np.floating) and str(images.dtype) not in ("bfloat16", "float16"):
        raise ValueError(f"images must be normalised floats; got {images.dtype}. Use clip.preprocess.")


def check_values(images: Float[np.ndarray, "batch height width channel"]) -> None:
    """Refuse images whose values cannot be normalised pixels; reads them, so it is for arrays on the host.

    Raises:
      ValueError: NaN or infinity, or values so large that they must be unnormalised (0 to 255).
    """
    images = np.asarray(images, np.float32)
    if not np.isfinite(images).all():
        bad = np.flatnonzero(~np.isfinite(images).all(axis=(1, 2, 3)))
        lost = counted(bad.size, "image")
        raise ValueError(f"images must be finite; image {bad[0]} holds NaN or infinity ({lost} in all).")
    largest = np.abs(images).max(initial=0)
    if largest > 20:  # the smallest std in use, 0.22, keeps normalised values below 5
        raise ValueError(f"images must be normalised; got values up to {largest:g}. Use clip.preprocess on the pixels.")


def _named(images: Any) -> Iterator[tuple[Any, str]]:
    single = isinstance(images, (Image.Image, str, Path, bytes)) or getattr(images, "ndim", 4) < 4
    if not single and not hasattr(images, "__iter__"):
        raise ValueError(f"images must be an image, a path or a list of them; got {type(images).__name__}.")
    several: Any = [images] if single else images
    for index, image in enumerate(several):
        path = image if isinstance(image, (str, Path)) else getattr(image, "filename", None)
        yield image, str(path or f"image {index}")


def _to_pixels(image: Image.Image, config: PreprocessConfig) -> UInt8[np.ndarray, "height width channel"]:
    (width, height), (left, top) = _geometry(image.size, config)
    if not 0 < width * height <= (Image.MAX_IMAGE_PIXELS or PILLOWS_LIMIT):
        raise ValueError(
            f"{image.width} x {image.height} pixels are too narrow to resize to {config.size}; crop it first."
        )
    image = _resized(_entering(image, config), (width, height), config)
    if width < config.size[1] or height < config.size[0]:
        image = _pad(image, config)
    left, top = max(left, 0), max(top, 0)
    image = image.crop((left, top, left + config.size[1], top + config.size[0]))
    return _colours(image)


def _entering(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    """Prepare a picture to be resized: in its own mode, or in RGB as transformers does, white where transparent."""
    if config.library == "open_clip":
        return image
    if "A" in image.getbands() or image.info.get("transparency") is not None:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image.convert("RGB")


def _resized(image: Image.Image, size: tuple[int, int], config: PreprocessConfig) -> Image.Image:
    """Resize a picture to that width and height, still in its own mode."""
    return image if image.size == size else image.resize(size, _resampling(config))


def _colours(image: Image.Image) -> UInt8[np.ndarray, "height width channel"]:
    # The conversion drops it anyway, but Pillow warns about some kinds.
    info, image.info = image.info, {key: value for key, value in image.info.items() if key != "transparency"}
    try:
        return np.array(image.convert("RGB"))
    finally:
        image.info = info


def _geometry(size: tuple[int, int], config: PreprocessConfig) -> tuple[tuple[int, int], tuple[int, int]]:
    """Compute the resized width and height, and the crop's left and top in it, negative where padding is added."""
    (width, height), (to_height, to_width) = size, config.size
    if config.resize_mode == "squash":
        return (to_width, to_height), (0, 0)
    if config.resize_mode == "shortest" and to_width == to_height:
        across, down = (to_width if side == min(size) else int(to_width * side / min(size)) for side in size)
        resized = across, down
    else:
        pick = max if config.resize_mode == "longest" else min
        ratio = pick(height / to_height, width / to_width)
        resized = round(width / ratio), round(height / ratio)
    left, top = (_offset(side, to, config.library) for side, to in zip(resized, (to_width, to_height), strict=True))
    return resized, (left, top)


def _offset(side: int, to: int, library: Library) -> int:
    if side < to:
        return -((to - side) // 2)
    return round((side - to) / 2) if library == "open_clip" else (side - to) // 2


def _resampling(config: PreprocessConfig) -> Image.Resampling:
    if config.resize_mode == "shortest" and config.size[0] != config.size[1] and config.library == "open_clip":
        return Image.Resampling.BICUBIC  # OpenCLIP ignores the configured filter in this one case
    return _FILTERS[config.interpolation]


def _pad(image: Image.Image, config: PreprocessConfig) -> Image.Image:
    missing = [max(0, to - side) for side, to in zip(image.size, reversed(config.size), strict=True)]
    border = (missing[0] // 2, missing[1] // 2, (missing[0] + 1) // 2, (missing[1] + 1) // 2)
    if isinstance(config.fill, tuple):  # OpenCLIP pads in the image's own mode, and so takes colours for RGB alone
        return ImageOps.expand(Image.fromarray(_colours(image)), border, config.fill)
    n_bands = len(image.getbands())
    return ImageOps.expand(image, border, config.fill if n_bands == 1 else (config.fill,) * n_bands)
