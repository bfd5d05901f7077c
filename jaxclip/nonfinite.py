"""Where NaN or infinity comes from: the first part of a forward pass that holds any, and the weights that do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from jaxclip.axes import AnyArray
from jaxclip.contributions import Terms
from jaxclip.params import flatten
from jaxclip.vision import VisionTransformer, forward


def first_nonfinite(
    vision: VisionTransformer, images: Float[AnyArray, "batch height width channel"]
) -> list[str | None]:
    """For every image the first place, in the order of the forward pass, whose part of the pooled residual stream is
    NaN or infinite; None where all is finite.

    What a patch alone holds shows at the first attention that reads it.

    Args:
      images: as `clip.preprocess` makes them.
    """
    terms = _terms(vision, jnp.asarray(images))
    attn, mlp = (_bad(x, axis) for x, axis in ((terms.attn, -1), (terms.mlp, -1)))
    rest = _bad(terms.z, -1) | _bad(vision.readout().embed(terms.z), -1)
    whole = zip(_bad(images, (1, 2, 3)).tolist(), _bad(terms.init, -1).tolist(), rest.tolist(), strict=True)
    return [_place(pixels, init, attn[:, i], mlp[:, i], after) for i, (pixels, init, after) in enumerate(whole)]


def nonfinite_weights(module: nnx.Module) -> list[str]:
    """Dotted paths of the parameters that hold NaN or infinity."""
    leaves = flatten(nnx.to_pure_dict(nnx.state(module)))
    return [path for path, leaf in leaves if not bool(jnp.isfinite(leaf).all())]


def explain_nonfinite(
    vision: VisionTransformer, images: Float[AnyArray, "batch height width channel"], names: Sequence[str]
) -> str:
    """One sentence for the first image that is not finite: which, where, and what to do."""
    places = first_nonfinite(vision, images)
    found = next((pair for pair in zip(names, places, strict=True) if pair[1] is not None), None)
    weights = nonfinite_weights(vision)
    if weights:
        cause = f"the weights {', '.join(weights[:4])} hold NaN or infinity; convert the checkpoint again."
    elif vision.compute.dtype == "float32":
        cause = "all weights are finite, so check the image and where the checkpoint comes from."
    else:
        cause = f"{vision.compute.dtype} is too narrow for it; load the model in float32."
    if found is None:
        return f"{', '.join(names[:1])}: the norm of the embedding is zero or too large for float32; {cause}"
    return f"{found[0]}: the model gives NaN or infinity, first in {found[1]}; {cause}"


_terms: Callable[..., Terms] = jax.jit(partial(forward, detail="head"))


def _bad(x: AnyArray, axis: Any) -> np.ndarray:
    return ~np.isfinite(np.asarray(x)).all(axis)


def _place(pixels: bool, init: bool, attn: np.ndarray, mlp: np.ndarray, rest: bool) -> str | None:
    if pixels:
        return "the image itself, after preprocessing"
    if init:
        return "the embedding of patches and positions, before layer 0"
    for layer, (heads, its_mlp) in enumerate(zip(attn, mlp, strict=True)):
        if heads.any():
            some = "" if heads.all() else f", head {', '.join(map(str, np.flatnonzero(heads)))}"
            return f"attention of layer {layer}{some}"
        if its_mlp:
            return f"the MLP of layer {layer}"
    return "the sum of all layers, or the final LayerNorm and projection" if rest else None
