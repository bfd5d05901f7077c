"""Position embeddings of one patch grid for another."""

from typing import Any

import numpy as np

from jaxclip.config import ClipConfig
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.ops import resize_positions


def grid_of(n_tokens: int) -> tuple[int, int] | None:
    """Return the square grid of patches among `n_tokens`, or None where there is no such grid."""
    found = TokenGrid.square(n_tokens)
    return found and found.grid


def resized(
    config: ClipConfig, params: dict[str, Any], image_size: int | tuple[int, int] | None
) -> tuple[ClipConfig, dict[str, Any]]:
    """Resize a model for images of another size; None, or its own size, changes nothing."""
    if image_size is None:
        return config, params
    other = config.for_images(image_size)
    positions, library = params["vision"]["positional_embedding"], config.preprocess.library
    moved = np.asarray(resize_positions(positions, config.vision.grid, other.vision.grid, library))
    moved = moved.astype(positions.dtype)
    return other, {**params, "vision": {**params["vision"], "positional_embedding": moved}}
