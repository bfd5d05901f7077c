"""Position embeddings of one patch grid for another."""

from dataclasses import replace
from math import isqrt
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jaxclip.config import ClipConfig


def grid_of(n_tokens: int) -> tuple[int, int] | None:
    """The square grid of `n_tokens - 1` patches, or None where there is no such grid."""
    side = isqrt(max(n_tokens - 1, 0))
    return (side, side) if side and side * side == n_tokens - 1 else None


def resize_positions(
    positions: Float[np.ndarray, "token width"], old: tuple[int, int], new: tuple[int, int]
) -> Float[np.ndarray, "resized_token width"]:
    """Position embeddings of a grid of another size, resized bicubically with antialiasing as OpenCLIP does.

    The class token's is left as it is, and resizing to the same grid changes nothing.

    Args:
      positions: class token first, then the patches in row-major order.
      old: patches (down, across) that `positions` covers.
      new: patches (down, across) wanted.
    """
    if old == new:
        return positions
    grid = jnp.asarray(positions[1:], jnp.float32).reshape(*old, -1)
    resized = jax.image.resize(grid, (*new, grid.shape[-1]), method="cubic", antialias=True)
    return np.concatenate([positions[:1].astype(np.float32), np.asarray(resized).reshape(new[0] * new[1], -1)])


def resized(
    config: ClipConfig, params: dict[str, Any], image_size: int | tuple[int, int] | None
) -> tuple[ClipConfig, dict[str, Any]]:
    """The same model for images of another size; None, or its own size, changes nothing."""
    if image_size is None:
        return config, params
    size = (image_size, image_size) if isinstance(image_size, int) else image_size
    vision = replace(config.vision, image_size=size)
    positions = params["vision"]["positional_embedding"]
    moved = resize_positions(np.asarray(positions), config.vision.grid, vision.grid).astype(positions.dtype)
    tower = {**params["vision"], "positional_embedding": moved}
    config = replace(config, vision=vision, preprocess=replace(config.preprocess, size=size))
    return config, {**params, "vision": tower}
