"""Second-order effects of MLP neurons: what a neuron adds to the embedding through the attention of later layers.

Neuron n of layer l adds p_t w_n to the residual stream at every token t. A later layer's head moves that on to the
class token (or the pool), and with patterns and both LayerNorms' sigmas read off the image this is linear:

    effect[n] = sum over later layers and heads of  s[n, later, head] * D[n, later, head]
    s = sum over tokens of pattern_t p_t / (sigma_t sigma),      D = w_n @ A @ B   (A, B as in
    `jaxclip.analyses.ov_circuits`)

s is a number that depends on the image, D a direction that does not. So an image is held in one number a neuron and
later head, and the mean and covariance of effects over a data set follow from those of s: nothing of the size
[image, layer, neuron, embed] is ever built. What goes through more than one later block is not counted. Summed over
neurons, with the MLP's output bias handled as one more, effects are what later heads read of the layer's MLP.

Source: Gandelsman, Efros and Steinhardt, arXiv:2406.04341, section 3; the split into s and D is this library's.
"""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.model import blocks
from jaxclip.model.forward import tokens_in
from jaxclip.model.pooling import pool_of
from jaxclip.model.stream import Taps, run_block, stream
from jaxclip.numerics import ops
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms


@on_own_terms
def neuron_coordinates(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    layer: int,
    neurons: Int[AnyArray, "neuron"] | None = None,
) -> Float[Array, "batch neuron later head"]:
    """s of neurons of one layer, for every later layer and head.

    Args:
      vision: the image tower.
      images: as `clip.preprocess` makes them.
      layer: of the neurons; the last layer's have no attention after them.
      neurons: which; all by default.

    Raises:
      ValueError: no such layer, or the last one; no such neurons.
    """
    return _coordinates(vision, jnp.asarray(images), _check(vision, layer, neurons), layer=layer)


@on_own_terms
def neuron_matrices(
    vision: Any,
    layer: int,
    neurons: Int[AnyArray, "neuron"] | None = None,
    directions: Float[AnyArray, "text embed"] | None = None,
) -> Float[Array, "neuron later head embed"] | Float[Array, "neuron later head text"]:
    """D of neurons of one layer: fixed by the weights. With `directions`, the effect on each of them instead.

    Args:
      vision: as in `neuron_coordinates`.
      layer: as in `neuron_coordinates`.
      neurons: as in `neuron_coordinates`.
      directions: texts, or anything else in the joint space.

    Raises:
      ValueError: as in `neuron_coordinates`.
    """
    chosen = _check(vision, layer, neurons)
    g = vision.readout().linear("separate")
    if directions is not None:
        g = jnp.einsum("we,se->ws", g, jnp.asarray(directions), precision="highest")
    return _matrices(vision.blocks, chosen, g, layer=layer)


@on_own_terms
def second_order(
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    layer: int,
    neurons: Int[AnyArray, "neuron"] | None = None,
    directions: Float[AnyArray, "text embed"] | None = None,
) -> Float[Array, "batch neuron embed"] | Float[Array, "batch neuron text"]:
    """Second-order effects on the un-normalised embedding, or on `directions`; arguments as in `neuron_matrices`."""
    coordinates = neuron_coordinates(vision, images, layer, neurons)
    matrices = neuron_matrices(vision, layer, neurons, directions)
    return jnp.einsum("bnlh,nlhe->bne", coordinates, matrices, precision="highest")


@on_own_terms
def neuron_moments(
    vision: Any,
    batches: Iterable[tuple[Float[AnyArray, "batch height width channel"], Float[AnyArray, "batch"]]],
    layer: int,
    neurons: Int[AnyArray, "neuron"] | None = None,
) -> Moments:
    """Mean and covariance of every neuron's effect over a data set, in one pass; a stack [neuron].

    Takes (n_later * n_heads)^2 + n_later * n_heads * embed numbers a neuron, for any number of images; name some
    `neurons` where that is too much.

    Args:
      vision: as in `neuron_coordinates`.
      layer: as in `neuron_coordinates`.
      neurons: as in `neuron_coordinates`.
      batches: images with their weights, 0 for padding.

    Raises:
      ValueError: as in `neuron_coordinates`.
    """
    chosen = _check(vision, layer, neurons)
    size = (vision.config.n_layers - layer - 1) * vision.config.n_heads
    zero = Moments.zero(size)
    moments = jax.tree.map(lambda x: jnp.zeros((len(chosen), *x.shape)), zero)
    for images, weights in batches:
        moments = _add(moments, vision, jnp.asarray(images), jnp.asarray(weights), chosen, layer=layer)
    matrices = neuron_matrices(vision, layer, chosen)
    return replace(moments, basis=matrices.reshape(len(chosen), size, -1))


def _check(vision: Any, layer: int, neurons: AnyArray | None) -> Array:
    config = vision.config
    if not 0 <= layer < config.n_layers - 1:
        raise ValueError(
            f"layer must be between 0 and {config.n_layers - 2}; got {layer}. Only layers before the last have "
            f"attention after their MLP."
        )
    chosen = jnp.arange(config.mlp_dim) if neurons is None else jnp.asarray(neurons)
    if chosen.ndim != 1 or not chosen.size or int(chosen.min()) < 0 or int(chosen.max()) >= config.mlp_dim:
        raise ValueError(f"neurons must be a list of numbers from 0 to {config.mlp_dim - 1}.")
    return chosen


def _part(tree: Any, which: Any) -> Any:
    return jax.tree.map(lambda x: x[which], tree)


@partial(jax.jit, static_argnames="layer")
def _coordinates(vision: Any, images: Array, neurons: Array, layer: int) -> Array:
    config, compute = vision.config, vision.compute
    pool = pool_of(config, compute.precision)

    def reads(carry: None, taps: Taps, block: blocks.Blocks, beside: None) -> tuple[None, Array]:
        sigma = ops.mean_and_sigma(taps.x, config.eps)[1][:, None, :, 0]
        return carry, pool.pattern(taps.q, taps.k, None) / sigma

    x, _, _ = stream(_part(vision.blocks, slice(layer)), tokens_in(vision, images), config, compute)
    taps = run_block(_part(vision.blocks, layer), x, config, compute)
    later = _part(vision.blocks, slice(layer + 1, None))
    x, _, patterns = stream(later, taps.leaving, config, compute, reads)
    sigma = ops.mean_and_sigma(pool.vector(x), config.eps)[1]
    hidden = taps.hidden[..., neurons].astype(jnp.float32)
    moved = jnp.einsum("btn,lbht->bnlh", hidden, patterns, precision=compute.precision)
    return moved / sigma[:, :, None, None]


@partial(jax.jit, static_argnames="layer")
def _matrices(layers: blocks.Blocks, neurons: Array, g: Array, layer: int) -> Array:
    here, later = _part(layers, layer), _part(layers, slice(layer + 1, None))
    out = here.mlp_out.kernel[neurons].astype(jnp.float32)
    out = out if here.ls_2 is None else out * here.ls_2[...].astype(jnp.float32)
    read = later.ln_1.scale[...][:, :, None, None] * later.attn_in.kernel[:, :, 2].astype(jnp.float32)
    values = jnp.einsum("nw,lwhc->nlhc", out, read - read.mean(1, keepdims=True), precision="highest")
    write = jnp.einsum("lhcw,we->lhce", later.output()[0], g, precision="highest")
    return jnp.einsum("nlhc,lhce->nlhe", values, write, precision="highest")


@partial(jax.jit, static_argnames="layer", donate_argnums=0)
def _add(moments: Moments, vision: Any, images: Array, weights: Array, neurons: Array, layer: int) -> Moments:
    coordinates = _coordinates(vision, images, neurons, layer=layer)
    samples = coordinates.reshape(*coordinates.shape[:2], -1)
    return moments.merge(jax.vmap(Moments.of, (1, None))(samples, weights))
