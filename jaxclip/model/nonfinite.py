"""Where NaN or infinity comes from: the first part of a forward pass that holds any, and the weights that do."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.model import text
from jaxclip.model.blocks import Blocks
from jaxclip.model.contributions import Terms
from jaxclip.model.forward import forward
from jaxclip.model.params import flatten
from jaxclip.model.stream import Taps, stream
from jaxclip.model.text import TextTransformer
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics.precision import finite


def first_nonfinite(
    vision: VisionTransformer, images: Float[AnyArray, "batch height width channel"]
) -> list[str | None]:
    """Find for every image the first place, in the order of the forward pass, whose part of the pooled residual stream
    is NaN or infinite; None where all is finite.

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
    """List the dotted paths of the parameters that hold NaN or infinity."""
    leaves = flatten(nnx.to_pure_dict(nnx.state(module)))
    return [path for path, leaf in leaves if not bool(jnp.isfinite(leaf).all())]


def check_images(
    found: Any,
    vision: VisionTransformer,
    images: Float[AnyArray, "batch height width channel"],
    names: Sequence[str] = (),
) -> None:
    """Check that what a tower found of images is finite: NaN passes through most analyses like any other number.

    Args:
      found: any arrays.
      names: of the images; numbers by default.

    Raises:
      ValueError: it is not, naming the image, the layer, and the weights if it is they.
    """
    if not finite(found):
        raise ValueError(explain_nonfinite(vision, images, names or [f"image {i}" for i in range(len(images))]))


def check_texts(
    found: Any, tower: TextTransformer | None, tokens: Int[AnyArray, "batch position"], texts: Sequence[str]
) -> None:
    """Check the same of texts, named by themselves."""
    if tower is not None and not finite(found):
        raise ValueError(_explained(tower, first_nonfinite_text(tower, tokens), [repr(one) for one in texts]))


def explain_nonfinite(
    vision: VisionTransformer, images: Float[AnyArray, "batch height width channel"], names: Sequence[str]
) -> str:
    """Write one sentence for the first image that is not finite: which, where, and what to do."""
    return _explained(vision, first_nonfinite(vision, images), names)


def first_nonfinite_text(text: TextTransformer, tokens: Int[AnyArray, "batch position"]) -> list[str | None]:
    """Find the same as `first_nonfinite`, for texts and the residual stream of all their positions."""
    start, attn, mlp, after = (np.asarray(x) for x in _text_places(text, jnp.asarray(tokens)))
    each = zip(start.tolist(), attn.T[..., None], mlp.T, after.tolist(), strict=True)
    return [_place(False, *parts, inputs="tokens") for parts in each]


def _explained(tower: VisionTransformer | TextTransformer, places: Sequence[str | None], names: Sequence[str]) -> str:
    found = next((pair for pair in zip(names, places, strict=True) if pair[1] is not None), None)
    weights = nonfinite_weights(tower)
    if weights:
        cause = f"the weights {', '.join(weights[:4])} hold NaN or infinity; convert the checkpoint again."
    elif tower.compute.dtype == "float32":
        what = "text" if isinstance(tower, TextTransformer) else "image"
        cause = f"all weights are finite, so check the {what} and where the checkpoint comes from."
    else:
        cause = f"{tower.compute.dtype} is too narrow for it; load the model in float32."
    if found is None:
        return f"{', '.join(names[:1])}: the norm of the embedding is zero or too large for float32; {cause}"
    return f"{found[0]}: the model gives NaN or infinity, first in {found[1]}; {cause}"


@jax.jit
def _text_places(tower: TextTransformer, tokens: Array) -> tuple[Bool[Array, "..."], ...]:
    """Find whether tokens, each layer's attention and MLP, and the embedding hold any number that is not finite."""
    config, compute = tower.config, tower.compute

    def bad(x: Array) -> Array:
        return ~jnp.isfinite(x).all(tuple(range(1, x.ndim)))

    def keep(carry: None, taps: Taps, block: Blocks, beside: None) -> tuple[None, tuple[Array, Array]]:
        return carry, (bad(taps.middle), bad(taps.leaving))

    x = text.tokens_in(tower, tokens)
    _, _, (attn, mlp) = stream(tower.blocks, x, config, compute, keep, visible=text.visible(config, tokens))
    return bad(x), attn, mlp, bad(tower(tokens))


_terms: Callable[..., Terms] = jax.jit(partial(forward, detail="head"))


def _bad(x: Any, axis: Any) -> np.ndarray:
    return np.asarray(~np.isfinite(np.asarray(x)).all(axis))


def _place(
    pixels: bool, init: bool, attn: np.ndarray, mlp: np.ndarray, rest: bool, inputs: str = "patches"
) -> str | None:
    if pixels:
        return "the image itself, after preprocessing"
    if init:
        return f"the embedding of {inputs} and positions, before layer 0"
    for layer, (heads, its_mlp) in enumerate(zip(attn, mlp, strict=True)):
        if heads.any():
            some = "" if heads.all() else f", head {', '.join(map(str, np.flatnonzero(heads)))}"
            return f"attention of layer {layer}{some}"
        if its_mlp:
            return f"the MLP of layer {layer}"
    return "the sum of all layers, or the final LayerNorm and projection" if rest else None
