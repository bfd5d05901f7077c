"""Which heads hold a property: proposed from moments and the property's own texts, never hard-coded.

A property ("background") is given by texts that differ in it ("a photo in a forest", "a photo at sea"). A head holds
it to the degree that such texts account for what the head varies in, which is measured twice:

* basis: of the variance that the head's TextSpan over a general pool and these texts explains, the share of the steps
  that picked one of these texts;
* variance: what as many steps explain when they may pick from these texts alone, relative to what they explain when
  they may pick from everything.
"""

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.moments import Moments
from jaxclip.text_span import TextSpan, textspan


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PropertyShares:
    """How much of each head a property accounts for, all between 0 and 1; fields stack like the moments.

    `size` is the head's part of the variance of all heads: a head may hold nothing else and yet hardly matter.
    """

    basis: Float[Array, "*stack"]
    variance: Float[Array, "*stack"]
    size: Float[Array, "*stack"]

    @property
    def score(self) -> Float[Array, "*stack"]:
        """Mean of both shares: what heads are ranked by."""
        return (self.basis + self.variance) / 2

    def ranking(self, least_size: float = 0.0) -> list[tuple[int, int, float]]:
        """(layer, head, score), best first, of heads whose `size` is at least `least_size`."""
        score, size = np.asarray(self.score), np.asarray(self.size)
        places = zip(*np.unravel_index(np.argsort(-score, axis=None, kind="stable"), score.shape), strict=True)
        found = [(int(layer), int(head), float(score[layer, head])) for layer, head in places]
        return [one for one in found if size[one[:2]] >= least_size]


def property_shares(
    moments: Moments,
    property_texts: Float[AnyArray, "text embed"],
    pool: Float[AnyArray, "others embed"],
    *,
    steps: int = 10,
    rank: int | None = None,
) -> PropertyShares:
    """How much of a stack of heads a property accounts for.

    Args:
      moments: of heads, stacked [layer, head].
      property_texts: embeddings of texts that differ in the property.
      pool: embeddings of texts about everything else; the property's own may be among them.
      steps: of TextSpan.
      rank: as in `textspan`.

    Raises:
      ValueError: as in `textspan`.
    """
    property_texts, pool = jnp.asarray(property_texts), jnp.asarray(pool)
    run = partial(textspan, steps=steps, rank=rank)
    run = jax.vmap(jax.vmap(run, (0, None)), (0, None))
    # The property's texts come first, so equal texts in the pool do not take their place.
    everything = run(moments, jnp.concatenate([property_texts, pool]))
    alone = run(moments, property_texts)
    variance, total = moments.variance, moments.variance.sum()
    return PropertyShares(
        basis=_share(_basis_gains(everything, len(property_texts)), everything.explained[..., -1]),
        variance=jnp.minimum(_share(_explained(alone), everything.explained[..., -1]), 1),
        size=_share(variance, total),
    )


def _basis_gains(span: TextSpan, n: int) -> Array:
    """Variance explained by steps that picked one of the first n texts."""
    gains = jnp.diff(span.explained, prepend=0, axis=-1)
    return jnp.where((span.indices >= 0) & (span.indices < n), gains, 0).sum(-1)


def _explained(span: TextSpan) -> Array:
    # A head that never varies is "explained" by nothing at all.
    return jnp.where(span.indices[..., 0] >= 0, span.explained[..., -1], 0)


def _share(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)
