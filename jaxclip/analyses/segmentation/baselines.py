"""Other ways to say where in the image a text is, for the same model, so that text maps have something to beat.

Every function takes the tower, images and one direction of the joint space an image (the class embedding, or what
`jaxclip.zeroshot.contrast` makes of it), and returns one value a patch;
`jaxclip.analyses.segmentation.masks.foreground` of their `to_pixels` makes masks of them all. Those that follow
gradients follow the cosine of embedding and direction. Where the tower pools patches instead of a class token, the
class token's row of a pattern becomes the mean of the patches' rows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.config import VisionConfig
from jaxclip.model import blocks
from jaxclip.model.blocks import Blocks
from jaxclip.model.forward import tokens_in
from jaxclip.model.pooling import pool_of
from jaxclip.model.stream import Changes, Taps, stream
from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics import ops
from jaxclip.numerics.own_terms import on_own_terms

Images = Float[AnyArray, "batch height width channel"]
Directions = Float[AnyArray, "batch embed"]
Heatmaps = Float[Array, "batch row column"]


@on_own_terms
@jax.jit
def raw_attention(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Where the last layer looks, its heads averaged. The same for every direction."""
    _, patterns = watch(vision, images)
    return place(patterns[-1].mean(1), vision.config)


@on_own_terms
@jax.jit
def rollout(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Attention followed through all layers: product over layers of (mean over heads + identity) / 2.

    The same for every direction. Source: Abnar and Zuidema, arXiv:2005.00928, section 3.
    """
    _, patterns = watch(vision, images)

    def step(so_far, pattern):
        return (_product(pattern.mean(1), so_far) + so_far) / 2, None

    return place(jax.lax.scan(step, _identity(patterns), patterns)[0], vision.config)


@on_own_terms
@jax.jit
def grad_cam(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """The last layer's pattern, each head weighted by its mean gradient over patches, summed and clipped at 0.

    Source: Selvaraju et al., arXiv:1610.02391, on attention as in Chefer et al., arXiv:2012.09838, section 4.
    """
    patterns, gradients = watch_gradients(vision, images, directions)
    pool, tokens = pool_of(vision.config), TokenGrid.of(vision.config)
    looks, slopes = (pool.vector(x[-1].swapaxes(1, 2)) for x in (patterns, gradients))
    weights = tokens.patches(slopes).mean(-1, keepdims=True)
    return tokens.to_grid(jnp.maximum((looks * weights).mean(1), 0))


@on_own_terms
@jax.jit
def generic_attention(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Relevance R <- R + A R through all layers, A the mean over heads of pattern * gradient, clipped at 0.

    Source: Chefer, Gur and Wolf, arXiv:2103.15679 (ICCV 2021), section 3.1, the case of one modality.
    """
    patterns, gradients = watch_gradients(vision, images, directions)

    def step(relevance, layer):
        pattern, gradient = layer
        return relevance + _product(jnp.maximum(pattern * gradient, 0).mean(1), relevance), None

    return place(jax.lax.scan(step, _identity(patterns), (patterns, gradients))[0], vision.config)


@on_own_terms
@jax.jit
def mask_clip(vision: Any, images: Images, directions: Directions) -> Heatmaps:
    """Cosine of the direction and each patch's own value in the last layer, carried through the output projection, the
    final LayerNorm and the projection as if the patch attended to itself alone; no residual stream, no MLP.

    Source: Zhou, Loy and Dai, arXiv:2112.01071, section 3.2.
    """
    config, compute = vision.config, vision.compute
    x = _through(vision, jax.tree.map(lambda weights: weights[:-1], vision.blocks), tokens_in(vision, images))[0]
    last = jax.tree.map(lambda weights: weights[-1], vision.blocks)
    values = blocks.project_out(last, blocks.project_in(last, x, config.eps, compute)[2], compute)
    own = jax.vmap(vision.readout().embed)(values.astype(jnp.float32))
    return TokenGrid.of(config).to_grid(jnp.einsum("bte,be->bt", _unit(own), _unit(directions), precision="highest"))


BASELINES: dict[str, Callable[[Any, Images, Directions], Heatmaps]] = {
    "raw attention": raw_attention,
    "rollout": rollout,
    "Grad-CAM": grad_cam,
    "generic attention explainability": generic_attention,
    "MaskCLIP": mask_clip,
}


@on_own_terms
@jax.jit
def watch(
    vision: Any, images: Images, nudges: Float[Array, "layer batch head query token"] | None = None
) -> tuple[Float[Array, "batch embed"], Float[Array, "layer batch head query token"]]:
    """The forward pass with every pattern in full: the embedding, and the patterns.

    Args:
      nudges: added to the patterns after the softmax; what the gradient is taken by.
    """
    x, patterns = _through(vision, vision.blocks, tokens_in(vision, images), nudges)
    return vision.readout().embed(pool_of(vision.config).vector(x)), patterns


@on_own_terms
@jax.jit
def watch_gradients(
    vision: Any, images: Images, directions: Directions
) -> tuple[Float[Array, "layer batch head query token"], Float[Array, "layer batch head query token"]]:
    """Every pattern, and the gradient by it of the cosine of embedding and direction."""

    def similarity(nudges):
        embedding, patterns = watch(vision, images, nudges)
        return jnp.vdot(_unit(embedding), _unit(directions)), patterns

    n, config = vision.config.n_tokens, vision.config
    gradients, patterns = jax.grad(similarity, has_aux=True)(
        jnp.zeros((config.n_layers, len(images), config.n_heads, n, n))
    )
    return patterns, gradients


def _through(vision: Any, layers: Blocks, x: Array, nudges: Array | None = None) -> tuple[Array, Array]:
    """The residual stream after some layers, and their patterns."""
    config, compute = vision.config, vision.compute

    def keep(carry: None, taps: Taps, block: Blocks, nudge: Array | None) -> tuple[None, Array]:
        pattern = ops.pattern(taps.q, taps.k, None, compute.precision)
        return carry, pattern if nudge is None else pattern + nudge

    x, _, patterns = stream(layers, x, config, compute, keep, changes=Changes(nudges=nudges), beside=nudges)
    return x, patterns


@on_own_terms
def place(matrix: Float[Array, "batch query token"], config: VisionConfig) -> Heatmaps:
    """Where the pooled token looks: its row of a matrix of tokens by tokens, on the patches' grid."""
    return TokenGrid.of(config).to_grid(pool_of(config).vector(matrix))


def _product(a: Array, b: Array) -> Float[Array, "batch query token"]:
    return jnp.matmul(a, b, precision="highest")


def _identity(patterns: Array) -> Float[Array, "batch query token"]:
    n = patterns.shape[-1]
    return jnp.broadcast_to(jnp.eye(n), (patterns.shape[1], n, n))


def _unit(x: AnyArray) -> Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)
