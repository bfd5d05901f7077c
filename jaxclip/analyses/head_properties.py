"""Which heads hold a property: proposed from moments and the property's own texts, never hard-coded.

A property ("background") is given by texts that differ in it ("a photo in a forest", "a photo at sea"). A head holds
it to the degree that such texts account for what the head varies in, which is measured twice:

* basis: of the variance that the head's TextSpan over a general pool and these texts explains, the share of the steps
  that picked one of these texts;
* variance: what as many steps explain when they may pick from these texts alone, relative to what they explain when
  they may pick from everything.

Any texts explain something, so the second never falls to zero, and where a pool knows few other words for the property
the first is high too easily: heads are ranked by the geometric mean, for which both have to hold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxclip.analyses.textspan import TextSpan, head_bases
from jaxclip.axes import AnyArray
from jaxclip.data.text_pools import Pool
from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import counted, numbers, shown
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms

HELD = 0.5
"""The least score of a head that is proposed."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PropertyShares:
    """How much of each head a property accounts for, all between 0 and 1; fields stack like the moments.

    `size` is the head's part of the variance of all heads: a head may hold nothing else and yet hardly matter.
    """

    basis: Float[Array, "*stack"]
    variance: Float[Array, "*stack"]
    size: Float[Array, "*stack"]

    def __repr__(self) -> str:
        """The heads it accounts for most of, if these are the shares of a model's heads."""
        if numbers(self.size) is None or np.ndim(self.size) != 2:
            return f"PropertyShares(of {shown(self.size)} heads)"
        best = ", ".join(f"{head_name(layer, head)} {score:.0%}" for layer, head, score in self.ranking()[:5])
        return f"PropertyShares(of {shown(self.size)} heads; layer.head by score: {best}, ..)"

    @property
    @on_own_terms
    def score(self) -> Float[Array, "*stack"]:
        """Geometric mean of both shares: what heads are ranked by."""
        return jnp.sqrt(self.basis * self.variance)

    def ranking(self, least_size: float = 0.0, late: int | None = None) -> list[tuple[int, int, float]]:
        """(layer, head, score), best first, of heads whose `size` is at least `least_size`.

        Args:
          least_size: 0 leaves out none.
          late: only heads of so many last layers.
        """
        score, size = np.asarray(self.score), np.asarray(self.size)
        first = 0 if late is None else len(score) - late
        places = zip(*np.unravel_index(np.argsort(-score, axis=None, kind="stable"), score.shape), strict=True)
        found = [(int(layer), int(head), float(score[layer, head])) for layer, head in places]
        return [one for one in found if one[0] >= first and size[one[:2]] >= least_size]

    def propose(self, late: int | None = None, top: int | None = None) -> list[tuple[int, int]]:
        """The heads that hold the property: the best `top`, or else all that it accounts for by half (a score of at
        least 0.5); the best one in any case.

        Raises:
          ValueError: `late` or `top` out of range.
        """
        n_layers, n_heads = self.score.shape
        if not 1 <= (late := n_layers if late is None else late) <= n_layers:
            raise ValueError(f"late must be 1 to {n_layers}, the layers there are; got {late}.")
        ranking = self.ranking(late=late)
        if top is None:
            top = max(1, sum(score >= HELD for *_, score in ranking))
        if not 1 <= top <= late * n_heads:
            raise ValueError(
                f"top must be 1 to {late * n_heads}, the heads of the last {counted(late, 'layer')}; got {top}."
            )
        return [(layer, head) for layer, head, _ in ranking[:top]]


@on_own_terms
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
    # The property's texts come first, so equal texts in the pool do not take their place.
    texts = jnp.concatenate([property_texts, pool])
    n = len(property_texts)
    # A text of zeros has nothing to say and is never picked: one program serves any split of a pool.
    alone = texts * (np.arange(len(texts)) < n)[:, None]
    everything, alone = (head_bases(moments, some, steps=steps, rank=rank) for some in (texts, alone))
    variance, total = moments.variance, moments.variance.sum()
    return PropertyShares(
        basis=_share(_basis_gains(everything, n), jnp.asarray(everything.explained[..., -1])),
        variance=jnp.minimum(_share(_explained(alone), jnp.asarray(everything.explained[..., -1])), 1),
        size=_share(variance, total),
    )


def property_of_pool(
    pool: Pool, name: str, own: Sequence[str] = ()
) -> tuple[tuple[str, ...], Bool[np.ndarray, "text"]]:
    """The texts of a property, and which texts of a pool are about something else.

    Args:
      pool: with categories, unless `own` is given.
      name: of the property: a category of the pool.
      own: texts that differ in the property, in place of a category's.

    Raises:
      ValueError: the pool has no such category, or texts of nothing else.
    """
    if not own and name not in pool.categories:
        if not pool.categories:
            raise ValueError(
                f"{pool.name} is a pool of texts that does not say what they are about, so none of them is known to be "
                f"about {name!r}. Give texts that differ in it in a file with --property-texts, one a line, and the "
                f"pool stands for everything else; a pool with categories is descriptions or scenes."
            )
        raise ValueError(
            f"the pool {pool.name} has no texts about {name!r}; it has {', '.join(dict.fromkeys(pool.categories))}. "
            f"Name one of these, or give the property's own texts in a file with --property-texts."
        )
    texts = tuple(own) or pool.about(name)
    others = np.array([text not in set(texts) for text in pool.texts])
    if not others.any():
        raise ValueError(f"the pool {pool.name} has texts of nothing but {name}; add texts about other things.")
    return texts, others


@on_own_terms
def pool_shares(
    moments: Moments,
    embeddings: Float[AnyArray, "text embed"],
    others: Bool[np.ndarray, "text"],
    own: Float[AnyArray, "own embed"] | None = None,
    steps: int = 10,
) -> PropertyShares:
    """`property_shares` for a part of a pool; all parts of one pool share a compiled program.

    Args:
      moments: of heads, stacked [layer, head].
      embeddings: of the pool's texts.
      others: which of them are about something else, from `property_of_pool`.
      own: embeddings of the property's texts, if they are not the rest of the pool.
      steps: of TextSpan.
    """
    embeddings = np.asarray(embeddings)
    return property_shares(moments, embeddings[~others] if own is None else own, embeddings[others], steps=steps)


@on_own_terms
def label_shares(samples: Float[AnyArray, "n *stack embed"], labels: Int[AnyArray, "n"]) -> Float[np.ndarray, "*stack"]:
    """Share of the samples' variance that a label explains: variance between its values over all variance.

    As a fraction of variances it would be above zero for labels drawn at random, the more so the more values there are;
    that expectation is taken off (adjusted R squared), so it is 0 for a label that says nothing, give or take, and 1
    for one that says everything.

    Args:
      samples: contributions, of any number of components.
      labels: of each sample, any whole numbers; leave out samples without one.

    Raises:
      ValueError: fewer than two values, or no value twice.
    """
    labels = np.asarray(labels)
    values, places, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if not 2 <= len(values) < len(labels):
        raise ValueError(
            f"labels must have two values or more, and one of them twice; got {counted(len(values), 'value')} "
            f"of {counted(len(labels), 'label')}."
        )
    samples = np.asarray(samples, np.float64)
    samples = samples - samples.mean(0)
    totals = np.zeros((len(values), *samples.shape[1:]))
    np.add.at(totals, places, samples)
    between = np.einsum("g...e,g->...", np.square(totals), 1 / counts)
    total = np.square(samples).sum((0, -1))
    explained = np.divide(between, total, out=np.zeros_like(total), where=total > 0)
    adjusted = 1 - (1 - explained) * (len(labels) - 1) / (len(labels) - len(values))
    return np.where(total > 0, adjusted, 0)


@on_own_terms
def category_shares(
    spans: TextSpan, categories: Sequence[str], names: Sequence[str]
) -> Float[np.ndarray, "*stack category"]:
    """Of what each basis explains, the share of the steps that picked a text of each category.

    Args:
      spans: of any number of components; `spans.first(n)` asks for the first n texts only.
      categories: of every text of the pool.
      names: of the categories to report, in this order.
    """
    indices = np.asarray(spans.indices)
    gains = np.diff(np.asarray(spans.explained), prepend=0, axis=-1) * (indices >= 0)
    picked = np.asarray(categories)[np.maximum(indices, 0)]
    found = np.stack([np.where(picked == name, gains, 0).sum(-1) for name in names], axis=-1)
    total = gains.sum(-1, keepdims=True)
    return np.divide(found, total, out=np.zeros_like(found), where=total > 0)


def _basis_gains(span: TextSpan, n: int) -> Array:
    """Variance explained by steps that picked one of the first n texts."""
    gains = jnp.diff(span.explained, prepend=0, axis=-1)
    return jnp.where((span.indices >= 0) & (span.indices < n), gains, 0).sum(-1)


def _explained(span: TextSpan) -> Array:
    # A head that never varies is "explained" by nothing at all.
    return jnp.where(span.indices[..., 0] >= 0, span.explained[..., -1], 0)


def _share(part: Array, whole: Array) -> Array:
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)
