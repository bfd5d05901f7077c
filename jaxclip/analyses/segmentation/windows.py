"""Images larger than the tower's: its window slides over them, and maps are averaged where windows overlap.

The other way is another grid: `jaxclip.load(..., image_size=...)` resizes the position embeddings.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jaxclip.analyses.segmentation.masks import Segmentation, decide, to_pixels
from jaxclip.axes import AnyArray
from jaxclip.model.text_maps import text_maps
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.zeroshot import contrast


def corners(size: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one side: every `stride`, the last flush with the end, so that all is covered.

    Raises:
      ValueError: a side smaller than the window, or a stride that would leave gaps.
    """
    if size < window:
        raise ValueError(
            f"an image must be at least as large as the tower's window, {window} pixels; got {size}. Enlarge it, or "
            f"load the model with a smaller image_size."
        )
    if not 1 <= stride <= window:
        raise ValueError(f"stride must be 1 to {window}, the window's own size; got {stride}.")
    return sorted({*range(0, size - window, stride), size - window})


@on_own_terms
def window_maps(
    vision: Any,
    image: Float[AnyArray, "height width channel"],
    texts: Float[AnyArray, "text embed"],
    *,
    stride: int | tuple[int, int] | None = None,
    batch: int = 8,
    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
) -> Float[np.ndarray, "text height width"]:
    """Text maps of one image of any size, enlarged to its pixels: the mean over the windows that see a pixel.

    Args:
      image: normalised, at least as large as what the tower takes.
      stride: pixels (down, across) from window to window; half a window by default.
      batch: windows that go through the tower together.
    """
    if image.ndim != 3:
        raise ValueError(f"windows slide over one image, [height, width, 3]; got {list(image.shape)}.")
    image, window = np.asarray(image), vision.config.image_size
    stride = tuple(max(side // 2, 1) for side in window) if stride is None else stride
    stride = (stride, stride) if isinstance(stride, int) else stride
    tops, lefts = (corners(*sides) for sides in zip(image.shape[:2], window, stride, strict=True))
    places = [(slice(top, top + window[0]), slice(left, left + window[1])) for top in tops for left in lefts]
    total, count = np.zeros((len(texts), *image.shape[:2]), np.float32), np.zeros(image.shape[:2], np.float32)
    for start in range(0, len(places), batch):
        some = places[start : start + batch]
        # The last batch is filled up, so that one program serves all.
        filled = some + some[-1:] * (min(batch, len(places)) - len(some))
        _, maps = text_maps(vision, np.stack([image[place] for place in filled]), texts, heads=heads)
        maps = to_pixels(TokenGrid.of(vision.config).to_grid(maps.swapaxes(1, 2)), window, vision.config.patch_size)
        for place, values in zip(some, np.asarray(maps), strict=False):
            total[:, *place] += values
            count[place] += 1
    return total / count


@on_own_terms
def label_windows(
    vision: Any,
    image: Float[AnyArray, "height width channel"],
    classes: Float[AnyArray, "text embed"],
    *,
    background: Float[AnyArray, "other embed"] | None = None,
    **options: Any,
) -> Segmentation:
    """`jaxclip.analyses.segmentation.masks.label_pixels` for one image of any size, a batch of one; options as for
    `window_maps`."""
    texts = classes if background is None else np.concatenate([classes, background])
    if len(texts) < 2:
        raise ValueError(f"a class is compared with other texts; got {len(texts)}. Pass more, or background=....")
    maps = window_maps(vision, image, contrast(texts), **options)
    return decide(jnp.asarray(maps)[None], len(classes))
