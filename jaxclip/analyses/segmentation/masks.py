"""Zero-shot segmentation: text maps, enlarged to pixels and cut into masks.

The paper's way, with `classes` as the zero-shot classifier: the map of the class the image is taken for, minus the mean
map over all classes; patches only, bilinearly enlarged, clipped at 0, scaled to [0, 1] image by image, and foreground
wherever that exceeds its mean over the image. `label_pixels` does it for several classes at once.

Source: arXiv:2310.05916, section 5, and its released code.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer

from jaxclip.axes import AnyArray
from jaxclip.model.text_maps import text_maps
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.arrays import by_shapes, counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.zeroshot import contrast


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Segmentation:
    """Pixels and what they are of: 0 is the background, class i is label i + 1.

    `scores` are in [0, 1], the background first; `labels` are the decision, which a threshold of its own may have made.
    """

    labels: Int[Array, "batch row column"]
    scores: Float[Array, "batch class row column"]

    __repr__ = by_shapes


@on_own_terms
def heatmaps(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    classes: Float[AnyArray, "text embed"],
    *,
    given: Integer[AnyArray, "batch"] | None = None,
    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
) -> tuple[Float[Array, "batch row column"], Integer[Array, "batch"]]:
    """How much each patch speaks for the image's class more than for the mean of all classes.

    Args:
      classes: class embeddings; those of all classes the image might have been, for they are what it is compared with.
      given: the class of each image; the one the image is taken for by default.
      heads: True for the heads that count.

    Returns:
      One value a patch, where it lies, and the classes.

    Raises:
      ValueError: fewer than two classes, or classes given that do not exist; and what `text_maps` refuses.
    """
    _check_classes(classes, "classes")
    scores, maps = text_maps(vision, images, classes, heads=heads)
    given = scores.argmax(-1) if given is None else jnp.asarray(given)
    known = isinstance(given, jax.core.Tracer) or bool(((given >= 0) & (given < len(classes))).all())
    if given.shape != (len(images),) or not known:
        n = counted(len(images), "image")
        raise ValueError(f"given must hold one class, 0 to {len(classes) - 1}, for each of the {n}.")
    own = jnp.take_along_axis(maps, given[:, None, None], axis=-1)[..., 0]
    return TokenGrid.of(vision.config).to_grid(own - maps.mean(-1)), given


@on_own_terms
def segment(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    classes: Float[AnyArray, "text embed"],
    **options: Any,
) -> Segmentation:
    """Foreground and background, as in the paper: `foreground` of the `heatmaps`, at the images' size.

    Args:
      options: `given` and `heads`, as for `heatmaps`.
    """
    heat, _ = heatmaps(vision, images, classes, **options)
    return foreground(to_pixels(heat, images.shape[1:3], vision.config.patch_size))


@on_own_terms
@jax.jit
def foreground(heat: Float[Array, "batch row column"]) -> Segmentation:
    """Clip at 0, scale each image to [0, 1], and call foreground what exceeds the image's mean.

    Where an image has nothing above 0 all of it is background, with scores of 0 for both, as in the released code.
    """
    heat = unit_range(heat)
    flat = heat.max((1, 2), keepdims=True) == 0
    scores = jnp.stack([jnp.where(flat, 0, 1 - heat), heat], axis=1)
    return Segmentation((heat > heat.mean((1, 2), keepdims=True)).astype(jnp.int32), scores)


@on_own_terms
def label_pixels(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    classes: Float[AnyArray, "text embed"],
    *,
    background: Float[AnyArray, "other embed"] | None = None,
    present: Bool[AnyArray, "batch text"] | None = None,
    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
) -> Segmentation:
    """Every pixel's class, several to an image.

    Each text's map is taken relative to the mean map over all texts. A pixel is of the text whose map is highest there;
    it is background where that is a background text, or where the highest class is not above its own mean over the
    image (clipped at 0). With one class present that is the paper's rule.

    Args:
      classes: class embeddings, labels 1.. in this order.
      background: further texts for what is none of the classes ("sky", "grass", ...).
      present: True for the classes that may be in the image; all by default.
      heads: True for the heads that count.

    Raises:
      ValueError: fewer than two texts in all, or `present` of another shape; and what `text_maps` refuses.
    """
    n = len(classes)
    texts = classes if background is None else jnp.concatenate([jnp.asarray(classes), jnp.asarray(background)])
    _check_classes(texts, "classes and background together")
    if present is not None and present.shape != (len(images), n):
        raise ValueError(f"present must be [{len(images)}, {n}] [batch, class]; got {list(present.shape)}.")
    _, maps = text_maps(vision, images, contrast(texts), heads=heads)
    maps = TokenGrid.of(vision.config).to_grid(maps.swapaxes(1, 2))
    pixels = to_pixels(maps, images.shape[1:3], vision.config.patch_size)
    return decide(pixels, n, None if present is None else jnp.asarray(present, bool))


@on_own_terms
@partial(jax.jit, static_argnames=("n_classes",))
def decide(
    pixels: Float[Array, "batch text row column"], n_classes: int, present: Bool[Array, "batch class"] | None = None
) -> Segmentation:
    """Labels from relative maps of the classes and, after them, of background texts; see `label_pixels`."""
    if present is not None:
        hidden = jnp.pad(~present, ((0, 0), (0, pixels.shape[1] - n_classes)))
        pixels = jnp.where(hidden[:, :, None, None], -jnp.inf, pixels)
    positive = jnp.maximum(pixels, 0)
    winner = pixels.argmax(1)
    best = positive[:, :n_classes].max(1)
    taken = (winner < n_classes) & (best > best.mean((1, 2), keepdims=True))
    labels = jnp.where(taken, winner + 1, 0).astype(jnp.int32)
    # One scale for all classes of an image, so that they stay comparable; the background is what none of them claims.
    top = best.max((1, 2), keepdims=True)
    top = jnp.where(top > 0, top, 1)
    scores = jnp.minimum(positive[:, :n_classes] / top[:, None], 1)
    nothing = jnp.maximum(1 - scores.max(1, keepdims=True), 0)
    return Segmentation(labels, jnp.concatenate([nothing, scores], axis=1))


@on_own_terms
def unit_range(heat: Float[Array, "*batch row column"]) -> Float[Array, "*batch row column"]:
    """Clip at 0, then map each image's range to [0, 1]; zeros where an image has one value alone."""
    heat = jnp.maximum(heat, 0)
    low, high = heat.min((-2, -1), keepdims=True), heat.max((-2, -1), keepdims=True)
    scaled = (heat - low) / jnp.where(high > low, high - low, 1)
    # Compilers multiply by the reciprocal, which leaves the top a bit above or below 1.
    return jnp.where(high > low, jnp.where(heat == high, 1, jnp.minimum(scaled, 1)), 0)


@on_own_terms
@partial(jax.jit, static_argnames=("size", "patch"))
def to_pixels(
    maps: Float[Array, "*batch row column"], size: tuple[int, int], patch: tuple[int, int]
) -> Float[Array, "*batch height width"]:
    """Maps enlarged to the image they were made from, bilinearly, pixel centres aligned.

    What was cut off at the bottom and right, filling no patch, gets the value of the nearest pixel that was not.

    Args:
      size: height and width of the image.
      patch: height and width of a patch.

    Raises:
      ValueError: the grid is not that of such an image.
    """
    rows, columns = maps.shape[-2:]
    if (rows, columns) != (size[0] // patch[0], size[1] // patch[1]):
        raise ValueError(
            f"an image of {size[0]} x {size[1]} in patches of {patch[0]} x {patch[1]} has "
            f"{size[0] // patch[0]} x {size[1] // patch[1]} of them; the map has {rows} x {columns}."
        )
    covered = (rows * patch[0], columns * patch[1])
    enlarged = resize(maps, covered)
    edges = [(0, 0)] * (maps.ndim - 2) + [(0, size[0] - covered[0]), (0, size[1] - covered[1])]
    return jnp.pad(enlarged, edges, mode="edge")


@on_own_terms
def resize(maps: Float[Array, "*batch row column"], size: tuple[int, int]) -> Float[Array, "*batch height width"]:
    """Bilinear, pixel centres aligned and no antialiasing: PyTorch's interpolate with align_corners=False.

    Beyond the outermost centres the value is exactly that of the edge. `jax.image.resize` agrees but for rounding, and
    that breaks the ties there, which average precision sees.
    """
    for axis, n in ((-1, size[1]), (-2, size[0])):
        before, after, share = _between(maps.shape[axis], n)
        share = share if axis == -1 else share[:, None]
        maps = jnp.take(maps, before, axis) * (1 - share) + jnp.take(maps, after, axis) * share
    return maps


def _between(n: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `size` pixels, the two of `n` samples it lies between, and how far it is from the first."""
    at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    before = np.floor(at).astype(np.int32)
    return before, np.minimum(before + 1, n - 1), (at - before).astype(np.float32)


def _check_classes(texts: AnyArray, what: str) -> None:
    if texts.ndim != 2 or len(texts) < 2:
        raise ValueError(
            f"{what} must be [text, embed] with at least two texts, for a class is compared with the mean over all of "
            f"them; got {list(np.shape(texts))}. Pass more classes, or background=... to label_pixels."
        )
