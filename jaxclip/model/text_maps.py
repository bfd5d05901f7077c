"""Text maps: what attention at each token adds to each text's score, without a contribution ever being built.

The score of a text r is embedding @ r, and the embedding is affine in the pooled residual stream z, so scores are the
embedding of a tower whose projection is P @ rᵀ. Its decomposition is therefore the decomposition of the scores, with
texts in the place of the embed axis:

    map = sum over layers and heads of pattern * (value @ (W_O @ G @ rᵀ)) / sigma  +  constants

and one layer's part is a product of `token x width` with `width x text`. The largest array is the map itself. For many
texts the layers are summed in the residual stream, [batch, token, width], and meet the texts once, at the end.

Source: arXiv:2310.05916, sections 3.1 and 5.
"""

from dataclasses import replace
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray
from jaxclip.model.contributions import Constants, Readout
from jaxclip.model.forward import Masks, forward
from jaxclip.numerics.own_terms import on_own_terms


@on_own_terms
def text_maps(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    texts: Float[AnyArray, "text embed"],
    *,
    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None,
    each: bool = False,
    constants: Constants = "spread",
) -> tuple[
    Float[Array, "batch text"],
    Float[Array, "batch token text"] | Float[Array, "batch layer head token text"],
]:
    """Compute scores of texts, and the part of them that attention brings, by place.

    Summed over its tokens (and layers and heads) the map of all heads, plus what init, MLPs and `constant` say about
    the texts, equals embedding @ textsᵀ.

    Args:
      vision: the image tower.
      images: as `clip.preprocess` makes them.
      texts: text embeddings or any directions in the joint space; their scale is kept.
      heads: True (or a weight) for the heads that count; all of them by default. The forward pass is not ablated.
      each: keep layers and heads apart: what one head says about one text, where. Heads not in `heads` are zero.
      constants: "spread" as in the paper, or "separate"; see `jaxclip.model.contributions`.

    Returns:
      embedding @ textsᵀ, and the map, both for the un-normalised embedding. Token 0 is the class token.

    Raises:
      ValueError: no texts or texts of another space, a mask of another shape than the tower's layers and heads, or
        images it does not take.

    Source: arXiv:2310.05916, section 5.
    """
    if texts.ndim != 2 or not len(texts) or texts.shape[1] != vision.config.embed_dim:
        raise ValueError(
            f"texts must be [text, {vision.config.embed_dim}] with at least one text; got {list(texts.shape)}. "
            f"clip.encode_text(clip.tokenize(texts)) makes them."
        )
    if constants not in get_args(Constants):
        raise ValueError(f"constants must be one of {', '.join(get_args(Constants))}; got {constants!r}.")
    # Checked by the tower, but given to the readout alone: the pass itself stays whole.
    chosen = vision._check(images, Masks(heads=heads)).heads
    chosen = None if chosen is None else jnp.asarray(chosen, jnp.float32)
    return _text_maps(vision, images, texts, chosen, each=each, constants=constants)


@partial(jax.jit, static_argnames=("each", "constants"))
def _text_maps(
    vision: Any, images: AnyArray, texts: AnyArray, chosen: Array | None, each: bool, constants: Constants
) -> tuple[Array, Array]:
    readout = vision.readout()
    projection = jnp.einsum("we,se->ws", readout.projection, texts, precision="highest")
    readout = replace(readout, projection=projection)
    g = readout.linear(constants)
    late = not each and summed_first(len(images) * vision.config.n_tokens, *g.shape)
    terms = forward(vision, images, Masks(), "full" if each else "token", None if late else g, chosen)
    kernel, bias = vision.blocks.output()
    maps, inverse = terms.attn, 1 / readout.sigma(terms.z)
    if late:
        maps = jnp.einsum("btw,ws->bts", maps, g, precision="highest")
    if each:
        # W_O @ G @ rᵀ first: for many texts the other order would pass through a head's part of the residual stream.
        matrices = jnp.einsum("lhcw,ws->lhcs", kernel, g, precision="highest")
        maps = jnp.einsum("lbhtc,lhcs->blhts", maps * inverse[:, :, None, None], matrices, precision="highest")
    else:
        maps = maps * inverse[:, :, None]
    if constants == "spread":
        share = _share(readout, terms.z, bias, kernel.shape[1] * maps.shape[-2])
        maps = maps + _spread(share, chosen, kernel.shape[1], each)
    if each and chosen is not None:
        maps = maps * chosen[:, :, None, None]
    return readout.embed(terms.z), maps


def summed_first(n_tokens: int, width: int, n_texts: int) -> bool:
    """Tell whether a layer costs fewer products in the residual stream, tokens @ W_O, than as tokens @ (W_O @ G).

    Args:
      n_tokens: of all images together.
      width: of the residual stream.
      n_texts: that maps are made for.
    """
    return n_tokens * width < (n_tokens + width) * n_texts


def _share(readout: Readout, z: Array, bias: Array, n_terms: int) -> Float[Array, "batch layer text"]:
    """Compute the part of the constants that falls to one token of one head of each layer."""
    inverse = 1 / readout.sigma(z)
    rest = readout.constant(z, "spread") / (2 * len(bias) + 1)
    biases = jnp.einsum("bi,lw,ws->bls", inverse, bias, readout.linear("spread"), precision="highest")
    return (biases + rest[:, None]) / n_terms


def _spread(share: Array, chosen: Array | None, n_heads: int, each: bool) -> Array:
    if each:
        return share[:, :, None, None]
    counted = jnp.full(share.shape[1], n_heads, share.dtype) if chosen is None else chosen.sum(1)
    return jnp.einsum("bls,l->bs", share, counted, precision="highest")[:, None]
