"""Layer-wise relevance propagation: the score of a direction handed back through the tower, layer by layer.

For y = f(x), each input gets x * (gradient of f by x, of relevance / y): in halves for a product of two activations,
and for weights among products of one sign alone (z+). LayerNorm, softmax and activations pass relevance on, and biases
get none. Two sets of rules differ in the rest:

* "attribution", of Chefer et al.'s own method: the two parts of a residual sum are rescaled by how much each claims,
  and relevance is conserved, so that it sums to 1 at every depth.
* "lrp", of the baselines LRP and partial LRP in the same release: residual sums are split as they are, which lets parts
  of opposite sign grow without bound, and of what a weight's products are given the negative inputs get half of all, so
  that relevance is not conserved.

As in `jaxclip.analyses.segmentation.baselines`, one value a patch. Relevance is divided by values that come near 0:
float32 may hold no more than two digits of its largest terms.

Source: Chefer, Gur and Wolf, arXiv:2012.09838 (CVPR 2021), section 3, and its released code.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.analyses.segmentation.baselines import Directions, Heatmaps, Images, place, watch_gradients
from jaxclip.model import blocks
from jaxclip.model.forward import tokens_in
from jaxclip.model.pooling import pool_of
from jaxclip.model.stream import run_block, stream
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics import ops
from jaxclip.numerics.own_terms import on_own_terms

TINY = 1e-9

Rules = Literal["attribution", "lrp"]


@on_own_terms
@jax.jit
def lrp(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Relevance that arrives at each patch's pixels.

    The released code goes on to single pixels; the rule for pixels conserves what a patch has, so this is their sum.
    """
    config, compute = vision.config, vision.compute
    relevance, _ = propagate(vision, images, directions, "lrp")
    patches = jnp.einsum(
        "btp,pw->btw",
        ops.patchify(jnp.asarray(images), config.patch_size),
        vision.patch_embedding[...],
        precision=compute.precision,
    )
    # What a token is given falls to its patch and to its position.
    placed = jnp.pad(patches, ((0, 0), (config.n_prefix, 0), (0, 0)))
    kept, _ = _split(jnp.add, relevance, placed, jnp.broadcast_to(vision.positional_embedding[...], placed.shape))
    return TokenGrid.of(config).to_grid(kept.sum(-1))


@on_own_terms
@jax.jit
def partial_lrp(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Relevance of the last layer's pattern, clipped at 0, mean over heads.

    Source: Voita et al., arXiv:1905.09418, section 4.
    """
    _, patterns = propagate(vision, images, directions, "lrp")
    return place(jnp.maximum(patterns[-1], 0).mean(1), vision.config)


@on_own_terms
@jax.jit
def transformer_attribution(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Product over layers of identity + mean over heads of (relevance of the pattern * its gradient), clipped at 0.

    Source: Chefer, Gur and Wolf, arXiv:2012.09838 (CVPR 2021), section 3.2.
    """
    _, relevances = propagate(vision, images, directions)
    _, gradients = watch_gradients(vision, images, directions)

    def step(so_far, layer):
        relevance, gradient = layer
        matrix = jnp.maximum(relevance * gradient, 0).mean(1)
        return so_far + jnp.matmul(matrix, so_far, precision="highest"), None

    n = vision.config.n_tokens
    start = jnp.broadcast_to(jnp.eye(n), (len(images), n, n))
    matrix = jax.lax.scan(step, start, (relevances, gradients))[0]
    return place(matrix, vision.config)


RELEVANCE: dict[str, Callable[[Any, Images, Directions], Heatmaps]] = {
    "LRP": lrp,
    "partial LRP": partial_lrp,
    "transformer attribution": transformer_attribution,
}


@on_own_terms
@partial(jax.jit, static_argnames=("rules",))
def propagate(
    vision: Any, images: Images, directions: Directions, rules: Rules = "attribution"
) -> tuple[Float[Array, "batch token residual"], Float[Array, "layer batch head query token"]]:
    """Relevance of the tokens that enter the first block, and of every pattern on the way.

    By the rules "attribution" that of the tokens sums to 1 for each image.

    Args:
      directions: what the embedding is projected on; one an image.
      rules: see the module.
    """
    config, compute = vision.config, vision.compute

    def keep(carry, taps, block, beside):
        return carry, taps.x

    last, _, entering = stream(vision.blocks, tokens_in(vision, images), config, compute, keep)

    def back(relevance, layer):
        block, x = layer
        return _back(block, x, relevance, config, compute, rules)

    readout = vision.readout()
    weights = jnp.einsum("we,be->bw", readout.projection, directions, precision="highest")

    # LayerNorm passes relevance on, so what z gets is what its normalised self gets.
    pool = pool_of(config)
    z = pool.vector(last)
    normalised = ops.layer_norm(z, readout.scale, readout.bias, config.eps)
    score = _weighted("bw,bw->b", normalised, weights, jnp.ones(len(z)), rules)
    start = _split(pool.vector, score, last.astype(jnp.float32))[0]
    return jax.lax.scan(back, start, (vision.blocks, entering), reverse=True)


def _back(
    block: blocks.Blocks, x: Array, relevance: Array, config: Any, compute: Any, rules: Rules
) -> tuple[Array, Array]:
    """Relevance of what leaves a block -> of what enters it, and of its pattern."""
    taps = run_block(block, x, config, compute)
    pattern = ops.pattern(taps.q, taps.k, None, compute.precision)
    block, taps = jax.tree.map(lambda w: w.astype(jnp.float32), (block, taps))
    x, q, k, v, mixed, attended, middle, hidden, added, _ = taps
    scales = [1.0 if gamma is None else gamma[...] for gamma in (block.ls_1, block.ls_2)]

    y = ops.layer_norm(middle, block.ln_2.scale[...], block.ln_2.bias[...], config.eps)
    stays, given = _residual(middle, added, relevance, rules)
    given = _weighted("btm,mw->btw", hidden, block.mlp_out.kernel[...] * scales[1], given, rules)
    stays = stays + _weighted("btw,wm->btm", y, block.mlp_in.kernel[...], given, rules)

    stays, given = _residual(x, attended, stays, rules)
    given = _weighted("bhtc,hcw->btw", mixed, block.attn_out.kernel[...] * scales[0], given, rules)
    to_pattern, to_values = (half / 2 for half in _split(_mix, given, pattern, v))
    to_q, to_k = (half / 2 for half in _split(_compare, to_pattern, q, k))
    y = ops.layer_norm(x, block.ln_1.scale[...], block.ln_1.bias[...], config.eps)
    given = jnp.stack([to_q, to_k, to_values])
    return stays + _weighted("btw,wxhc->xbhtc", y, block.attn_in.kernel[...], given, rules), to_pattern


def _split(function: Callable[..., Array], relevance: Array, *inputs: Array) -> tuple[Array, ...]:
    """x * (gradient of f by x, of relevance / f): what each input of f gets of what f was given."""
    result, gradient = jax.vjp(function, *inputs)
    return tuple(x * slope for x, slope in zip(inputs, gradient(_divide(relevance, result)), strict=True))


def _weighted(spec: str, x: Array, weights: Array, relevance: Array, rules: Rules) -> Array:
    """z+: positive inputs get through positive weights and negative ones through negative weights alone."""

    def product(x: Array, weights: Array) -> Array:
        return jnp.einsum(spec, x, weights, precision="highest")

    above, below = (jnp.maximum(x, 0), jnp.maximum(weights, 0)), (jnp.minimum(x, 0), jnp.minimum(weights, 0))
    by_above, by_below = product(*above), product(*below)
    whole = by_above + by_below
    claims = ((above, whole), (below, whole if rules == "attribution" else 2 * by_below))
    first, second = (
        x * jax.vjp(lambda x, weights=weights: product(x, weights), x)[1](_divide(relevance, total))[0]
        for (x, weights), total in claims
    )
    return first + second


def _residual(a: Array, b: Array, relevance: Array, rules: Rules) -> tuple[Array, Array]:
    """What each part of a sum gets.

    By the rules "attribution" it is scaled by how much each part claims, so that both hold what the sum was given.
    """
    ours, theirs = claims = _split(jnp.add, relevance, a, b)
    if rules == "lrp":
        return ours, theirs
    totals = [claim.sum((1, 2), keepdims=True) for claim in claims]
    whole = relevance.sum((1, 2), keepdims=True)
    sizes = jnp.abs(totals[0]) + jnp.abs(totals[1])
    first, second = (
        claim * _divide(_divide(jnp.abs(total), sizes) * whole, total)
        for claim, total in zip(claims, totals, strict=True)
    )
    return first, second


def _divide(a: Array, b: Array) -> Array:
    """a / b, with b kept away from 0; 0 where b is 0. In b's precision, for `jax.vjp` of what gave b takes no other."""
    safe = jnp.where(b < 0, jnp.minimum(b, -TINY), jnp.maximum(b, TINY))
    return jnp.where(b == 0, 0, a / safe).astype(b.dtype)


def _mix(pattern: Array, v: Array) -> Array:
    return jnp.einsum("bhqt,bhtc->bhqc", pattern, v, precision="highest")


def _compare(q: Array, k: Array) -> Array:
    return jnp.einsum("bhqc,bhtc->bhqt", q, k, precision="highest")
