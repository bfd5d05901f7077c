"""What the final LayerNorm reads off the tokens: a weighted sum of them.

With weights r over tokens, z = sum over t of r_t x_t; so a head with pattern A and values v adds ((r A) v) W_O to z.
Row r A is all that is ever needed of a pattern: for the class token it is its own row, and for the mean over patches
the mean of their rows.
"""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray
from jaxclip.config import VisionConfig
from jaxclip.numerics import ops

CLASS_TOKEN = 0
"""The place of the class token, where a tower has one."""


@dataclass(frozen=True)
class Pool:
    """Weights over the tokens, known before the first block.

    Attributes:
      weights: of every token; None where the class token alone is read, of whose pattern then only its row is formed.
      precision: of the products that form patterns.
    """

    weights: Float[Array, "#batch token"] | None
    precision: str

    def vector(self, x: Float[Array, "batch token *rest"]) -> Float[Array, "batch *rest"]:
        """Pool the tokens, in float32."""
        if self.weights is None:
            return x[:, CLASS_TOKEN].astype(jnp.float32)
        return (x.astype(jnp.float32) * self.weights.reshape(*self.weights.shape, *(1,) * (x.ndim - 2))).sum(1)

    def pattern(
        self,
        q: Float[Array, "batch head token head_dim"],
        k: Float[Array, "batch head token head_dim"],
        visible: Bool[Array, "#batch #query token"] | None,
    ) -> Float[Array, "batch head token"]:
        """Compute how much of each token's value reaches the pooled vector, head by head."""
        if self.weights is None:
            own = q[:, :, CLASS_TOKEN : CLASS_TOKEN + 1]
            return ops.pattern(own, k, visible, self.precision)[:, :, 0]
        return (ops.pattern(q, k, visible, self.precision) * self.weights[:, None, :, None]).sum(2)


def pool_of(
    config: VisionConfig, precision: str = "highest", visible: Bool[AnyArray, "#batch token"] | None = None
) -> Pool:
    """Make the pool of a tower: its class token, or the mean over the patches.

    Args:
      config: of the tower.
      precision: of the products that form patterns.
      visible: False for tokens that nobody may look at; such a patch is not pooled either.
    """
    if config.pool == "class":
        return Pool(None, precision)
    share = jnp.ones((1, config.n_tokens)) if visible is None else jnp.asarray(visible).astype(jnp.float32)
    share = share.at[:, : config.n_prefix].set(0)
    return Pool(share / share.sum(-1, keepdims=True), precision)
