"""The terms of an embedding as an ablation chooses from them: heads, MLPs, the input, and what belongs to nobody."""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.model.contributions import Contributions
from jaxclip.model.head_coordinates import HeadState
from jaxclip.model.pooling import CLASS_TOKEN
from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.own_terms import on_own_terms


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Components:
    """The terms that an ablation chooses from; they sum to the embedding, `class_attn` aside, which the heads contain.

    `class_attn` is what the class token takes from itself in each attention layer, heads summed; None where it was not
    kept. `constant` belongs to nobody. The batch axis is missing in means, and the last axis is text after `project`.
    """

    init: Float[AnyArray, "*batch embed"]
    heads: Float[AnyArray, "*batch layer head embed"]
    mlp: Float[AnyArray, "*batch layer embed"]
    class_attn: Float[AnyArray, "*batch layer embed"] | None = None
    constant: Float[AnyArray, ""] | Float[AnyArray, "*batch embed"] | float = 0.0

    __repr__ = by_shapes

    @classmethod
    @on_own_terms
    def of(cls, contributions: Contributions) -> "Components":
        """Take the terms of a decomposition at detail "full" or "head"; only "full" knows the class token's part."""
        heads = contributions.reduce("head").attn
        first = contributions.attn[..., CLASS_TOKEN, :].sum(-2) if contributions.detail == "full" else None
        return cls(contributions.init, heads, contributions.mlp, first, contributions.constant)

    @classmethod
    @on_own_terms
    def of_state(cls, state: HeadState, matrices: Float[AnyArray, "layer head unit embed"]) -> "Components":
        """Take the terms of what a pass keeps of each image, and `head_matrices`."""
        return replace(cls.of(state.contributions(matrices)), class_attn=state.class_attn)

    @on_own_terms
    def total(self) -> Float[Array, "*batch embed"]:
        """Sum the terms: the embedding, or what became of it by `project`."""
        return (
            jnp.asarray(self.init)
            + jnp.asarray(self.heads).sum(-2).sum(-2)
            + jnp.asarray(self.mlp).sum(-2)
            + self.constant
        )

    @on_own_terms
    def mean(self, weights: Float[AnyArray, "batch"] | None = None) -> "Components":
        """Average over the batch: what mean-ablation puts in a term's place. An image of weight 0 is padding."""
        shares = jnp.ones(len(self.init)) if weights is None else jnp.asarray(weights, jnp.float32)
        shares = shares / shares.sum()

        def average(x: AnyArray) -> Array:
            x = jnp.where(shares.reshape(-1, *(1,) * (x.ndim - 1)) > 0, x, 0)
            return jnp.einsum("b...,b->...", x, shares, precision="highest")

        return self._map(average)

    @on_own_terms
    def project(self, directions: Float[AnyArray, "text embed"]) -> "Components":
        """Take every term's inner product with every direction."""
        return self._map(lambda x: jnp.einsum("...e,se->...s", x, directions, precision="highest"))

    def _map(self, function: Any) -> "Components":
        # A constant that is no array is the zero of both spaces.
        return jax.tree.map(lambda x: function(x) if jnp.ndim(x) else x, self)
