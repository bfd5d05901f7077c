"""Between a picture and the part of it that a tower sees: maps and labels taken to a picture's pixels, masks brought to
the tower's. Everything goes by pixel centres, and by the box that `jaxclip.preprocess.crop_box` gives."""

import numpy as np
from jaxtyping import Float, Integer

from jaxclip.axes import AnyArray
from jaxclip.data.masks.labels import UNSEEN

Box = tuple[float, float, float, float]


def maps_to_picture(
    maps: Float[AnyArray, "*batch row column"],
    size: tuple[int, int],
    box: Box,
    image_size: tuple[int, int],
    patch: tuple[int, int],
) -> Float[np.ndarray, "*batch height width"]:
    """Maps at a picture's own resolution, bilinear between the centres of patches; NaN where the tower does not look.

    For a picture of the tower's own size and a box that is all of it, this is
    `jaxclip.analyses.segmentation.masks.to_pixels`.

    Args:
      size: height and width of the picture.
      box: the part of it that was seen (left, top, right, bottom), in its pixels.
      image_size: height and width of what the tower takes.
      patch: height and width of a patch.

    Raises:
      ValueError: the maps are not of a grid that such a tower has.
    """
    maps = np.asarray(maps, np.float32)
    grid = tuple(side // step for side, step in zip(image_size, patch, strict=True))
    if maps.shape[-2:] != grid:
        raise ValueError(
            f"a tower of {list(image_size)} pixels in patches of {list(patch)} has maps of {list(grid)}; got "
            f"{list(maps.shape[-2:])}. Maps and image size must come from one model."
        )
    for axis in (0, 1):
        at = _fractions(size[axis], box[1 - axis], box[3 - axis])
        place = np.clip(at * image_size[axis] / patch[axis] - 0.5, 0, grid[axis] - 1)
        before = np.floor(place).astype(int)
        share = np.where((at > 0) & (at < 1), place - before, np.nan).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        after = np.minimum(before + 1, grid[axis] - 1)
        maps = np.take(maps, before, axis - 2) * (1 - share) + np.take(maps, after, axis - 2) * share
    return maps


def labels_to_picture(
    labels: Integer[AnyArray, "row column"], size: tuple[int, int], box: Box, unseen: int = UNSEEN
) -> Integer[np.ndarray, "height width"]:
    """Labels of a tower's input at a picture's own resolution, nearest neighbour.

    Args:
      size: height and width of the picture.
      box: the part of it that was seen, in its pixels.
      unseen: the label of pixels outside the box.
    """
    labels, (left, top, right, bottom) = np.asarray(labels), box
    n_rows, n_columns = labels.shape
    # Products before quotients: where a centre falls on an edge between two pixels, it does so exactly.
    rows = (np.arange(size[0]) + 0.5 - top) * n_rows / (bottom - top)
    columns = (np.arange(size[1]) + 0.5 - left) * n_columns / (right - left)
    return _nearest(labels, rows, columns, unseen)


def mask_in_view(
    mask: Integer[AnyArray, "height width"], box: Box, image_size: tuple[int, int], unseen: int = UNSEEN
) -> Integer[np.ndarray, "row column"]:
    """A picture's mask as the tower sees the picture, nearest neighbour.

    With all of the picture as the box it is Pillow's nearest-neighbour resize, but for centres on an edge, which Pillow
    rounds to either side.

    Args:
      box: the part of the picture that is seen; it may reach beyond, where the preprocessing pads.
      image_size: height and width of what the tower takes.
      unseen: the label of what lies beyond the picture.
    """
    mask, (left, top, right, bottom) = np.asarray(mask), box
    rows = top + (np.arange(image_size[0]) + 0.5) * (bottom - top) / image_size[0]
    columns = left + (np.arange(image_size[1]) + 0.5) * (right - left) / image_size[1]
    return _nearest(mask, rows, columns, unseen)


def _fractions(n: int, low: float, high: float) -> np.ndarray:
    """Where the centres of n pixels lie between low and high: 0 at low, 1 at high."""
    return (np.arange(n) + 0.5 - low) / (high - low)


def _nearest(labels: np.ndarray, rows: np.ndarray, columns: np.ndarray, unseen: int) -> np.ndarray:
    """The labels of the pixels that these places lie in."""
    inside = [(at >= 0) & (at < n) for at, n in zip((rows, columns), labels.shape, strict=True)]
    found = labels[np.ix_(*(np.where(ok, at, 0).astype(int) for ok, at in zip(inside, (rows, columns), strict=True)))]
    return np.where(inside[0][:, None] & inside[1], found, unseen).astype(np.int32)
