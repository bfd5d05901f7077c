"""Head coordinates: all that a head adds to the embedding of one image, in head_dim + 3 numbers.

Summed over tokens, a head contributes

    contribution = u @ M,      u = [ (sum over tokens of pattern * value) / sigma, 1 / sigma, mu / sigma, 1 ]

with M fixed by the weights: W_O @ G, then the head's shares of b_O @ G, of -gamma @ P and of beta @ P. So u is stored
instead of the contribution, and moments of contributions follow from moments of u. Dividing by the embedding's norm
divides u.
"""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.model.contributions import Constants, Contributions, Readout, Terms, assemble
from jaxclip.model.forward import forward
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics import ops
from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.own_terms import on_own_terms

N_CONSTANTS = 3
"""Numbers of u behind the head's own vector: 1 / sigma, mu / sigma and 1."""


def unit_size(head_dim: int) -> int:
    """Count the numbers that hold what one head adds to one image's embedding."""
    return head_dim + N_CONSTANTS


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HeadState:
    """What a pass over the data keeps of each image; with `head_matrices` it is the embedding's decomposition.

    `init`, `mlp` and the heads, `heads @ matrices`, sum to `embedding`. `class_attn` is the part of each attention
    layer that the class token takes from itself (token 0, summed over heads); it is contained in the heads. Constants
    are spread as in the paper.
    """

    embedding: Float[Array, "*batch embed"]
    heads: Float[Array, "*batch layer head unit"]
    mlp: Float[Array, "*batch layer embed"]
    init: Float[Array, "*batch embed"]
    class_attn: Float[Array, "*batch layer embed"]

    __repr__ = by_shapes

    @on_own_terms
    def normalized(self) -> "HeadState":
        """Divide everything by the embedding's norm, as in the paper's released code."""
        inverse = 1 / jnp.linalg.norm(self.embedding, axis=-1)
        return jax.tree.map(lambda x: x * inverse.reshape(inverse.shape + (1,) * (x.ndim - inverse.ndim)), self)

    @on_own_terms
    def contributions(self, matrices: Float[AnyArray, "layer head unit embed"]) -> Contributions:
        """Expand to the decomposition at detail "head", equal to the vision tower's own."""
        attn = jnp.einsum("...lhu,lhue->...lhe", self.heads, matrices, precision="highest")
        return Contributions(self.init, attn, self.mlp, jnp.zeros_like(self.init), "head", "spread")


@on_own_terms
def head_matrices(vision: Any, constants: Constants = "spread") -> Float[Array, "layer head unit embed"]:
    """Compute M of every head: head_coordinates @ M is the head's contribution to the embedding.

    Args:
      vision: the image tower.
      constants: with "separate" the last three rows are zero, for those constants are nobody's.
    """
    readout = vision.readout()
    kernel, bias = vision.blocks.output()
    n_layers, n_heads = kernel.shape[:2]
    own = jnp.einsum("lhcw,we->lhce", kernel, readout.linear(constants), precision="highest")
    if constants == "separate":
        return jnp.pad(own, ((0, 0), (0, 0), (0, N_CONSTANTS), (0, 0)))
    n_shares = (2 * n_layers + 1) * n_heads
    weights = jnp.stack([-readout.scale, readout.bias]) / n_shares
    shares = jnp.einsum("iw,we->ie", weights, readout.projection, precision="highest")
    biases = jnp.einsum("lw,we->le", bias / n_heads, readout.linear(constants), precision="highest")
    rows = jnp.concatenate([biases[:, None], jnp.broadcast_to(shares, (n_layers, *shares.shape))], axis=1)
    return jnp.concatenate([own, jnp.broadcast_to(rows[:, None], (n_layers, n_heads, *rows.shape[1:]))], axis=2)


@on_own_terms
def head_coordinates(terms: Terms, readout: Readout) -> Float[Array, "batch layer head unit"]:
    """Compute u of every head from a forward pass at detail "head"."""
    mean, sigma = ops.mean_and_sigma(terms.z, readout.eps)
    return _coordinates(jnp.asarray(terms.attn), mean, sigma)


@on_own_terms
def head_state(vision: VisionTransformer, images: Float[AnyArray, "batch height width channel"]) -> HeadState:
    """Run one forward pass and keep what its decomposition needs; no contribution of a token is ever built.

    Args:
      images: as `clip.preprocess` makes them.
    """
    return _head_state(vision, jnp.asarray(images))


@jax.jit
def _head_state(vision: Any, images: Array) -> HeadState:
    readout, output = vision.readout(), vision.blocks.output()
    terms = forward(vision, images, detail="head")
    others = assemble(terms, readout, output, "layer", "spread")
    heads, matrices = head_coordinates(terms, readout), head_matrices(vision)
    mean, sigma = ops.mean_and_sigma(terms.z, readout.eps)
    # The class token is one of n_tokens, and biases and constants are split evenly over tokens.
    first = _coordinates(jnp.asarray(terms.first), mean, sigma, 1 / vision.config.n_tokens)
    class_attn = jnp.einsum("blhu,lhue->ble", first, matrices, precision="highest")
    return HeadState(readout.embed(terms.z), heads, others.mlp, others.init, class_attn)


def _coordinates(vectors: Array, mean: Array, sigma: Array, share: float = 1.0) -> Array:
    own = vectors.swapaxes(0, 1) / sigma[:, :, None, None]
    rest = share * jnp.concatenate([1 / sigma, mean / sigma, jnp.ones_like(sigma)], axis=-1)
    return jnp.concatenate([own, jnp.broadcast_to(rest[:, None, None], (*own.shape[:3], N_CONSTANTS))], axis=-1)
