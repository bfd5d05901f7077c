"""What directions of the joint space say: texts near both their ends, or few texts whose sum they are."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import in_double, one_after_another


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ends:
    """The texts nearest to both ends of directions: a direction has two, for an image may have more or less of it.

    `toward` and `away` are places in the pool, nearest first, with the cosines beside them; those of `away` are
    negative where the direction tells texts apart.
    """

    toward: Int[Array, "*stack n"]
    toward_cosines: Float[Array, "*stack n"]
    away: Int[Array, "*stack n"]
    away_cosines: Float[Array, "*stack n"]


class Principal(NamedTuple):
    """The direction that a component varies along most, and the share of its variance that lies along it.

    For second-order effects of neurons arXiv:2406.04341 finds that share close to one. The mean settles the sign.
    """

    directions: Float[Array, "component embed"]
    share: Float[Array, "component"]


class SparseTexts(NamedTuple):
    """A direction as a weighted sum of few texts: places in the pool in the order picked, weights, and the share of the
    direction's squared length that the texts span up to each step."""

    indices: Int[Array, "*stack step"]
    weights: Float[Array, "*stack step"]
    explained: Float[Array, "*stack step"]


@on_own_terms
def describe(directions: Float[AnyArray, "*stack embed"], texts: Float[AnyArray, "text embed"], n: int = 5) -> Ends:
    """The n texts with the largest and the smallest cosine with each direction.

    All text embeddings of a CLIP share a large common part, and a direction along it is near to every text. So give
    texts relative to their mean (`jaxclip.zeroshot.contrast`) where only differences between texts should count.

    Args:
      directions: in the joint space, of any length.
      texts: embeddings of the pool, of any length.
      n: texts at each end.

    Raises:
      ValueError: more texts asked for than there are.
    """
    if not 1 <= n <= len(texts):
        raise ValueError(f"n must be between 1 and {len(texts)}, the number of texts; got {n}.")
    cosines = jnp.einsum("...e,se->...s", _unit(directions), _unit(texts), precision="highest")
    high, toward = jax.lax.top_k(cosines, n)
    low, away = jax.lax.top_k(-cosines, n)
    return Ends(toward, high, away, -low)


@on_own_terms
def principal(moments: Moments) -> Principal:
    """Where each component of a stack varies most, from its moments alone, such as
    `jaxclip.analyses.second_order.neuron_moments`."""
    return in_double(partial(_principal), moments)


@on_own_terms
def sparse_texts(
    direction: Float[AnyArray, "embed"], texts: Float[AnyArray, "text embed"], steps: int = 8
) -> SparseTexts:
    """A direction as few texts, by orthogonal matching pursuit; `jax.vmap` over directions.

    Each step takes the text with the largest cosine, either sign, with what the texts before it leave, and weights are
    least squares over all that were taken.

    Args:
      direction: in the joint space.
      texts: embeddings of the pool, of any length; weights are those of the texts as given.
      steps: texts to take.

    Raises:
      ValueError: more steps than texts, or than dimensions.
    """
    most = min(texts.shape)
    if not 1 <= steps <= most:
        raise ValueError(f"steps must be between 1 and {most}, for {list(texts.shape)} texts; got {steps}.")
    return in_double(partial(_pursuit, steps=steps), direction, texts)


def _principal(moments: Moments) -> Principal:
    dtype = jnp.result_type(float)
    basis, centre = jnp.asarray(moments.basis).astype(dtype), moments.centre.wide(dtype)
    covariance = moments.spread.wide(dtype) / jnp.maximum(moments.count, 1)[..., None, None]
    variances, modes = one_after_another(jnp.linalg.eigh, covariance)
    # F Fᵀ is the covariance, so the variance in the joint space is that of Fᵀ (D Dᵀ) F, which is small.
    factor = modes * jnp.sqrt(jnp.maximum(variances, 0))[..., None, :]
    spans = jnp.einsum("nuk,nue->nke", factor, basis, precision="highest")
    products = jnp.einsum("nke,nje->nkj", spans, spans, precision="highest")
    sizes, vectors = one_after_another(jnp.linalg.eigh, products)
    along = jnp.einsum("nk,nke->ne", vectors[..., -1], spans, precision="highest")
    norm = jnp.linalg.norm(along, axis=-1, keepdims=True)
    direction = along / jnp.where(norm > 0, norm, 1)
    mean = jnp.einsum("nu,nue->ne", centre, basis, precision="highest")
    sign = jnp.where((mean * direction).sum(-1, keepdims=True) < 0, -1, 1)
    total = sizes.sum(-1)
    return Principal(sign * direction, jnp.where(total > 0, sizes[..., -1] / jnp.where(total > 0, total, 1), 0))


def _pursuit(direction: Array, texts: Array, *, steps: int) -> SparseTexts:
    dtype = jnp.result_type(float)
    texts, direction = texts.astype(dtype), direction.astype(dtype)
    lengths = jnp.linalg.norm(texts, axis=-1)
    unit = texts / jnp.where(lengths > 0, lengths, 1)[:, None]

    def step(carry: tuple[Array, Array, Array], number: Array):
        left, found, free = carry
        pick = jnp.argmax(jnp.where(free, jnp.abs(unit @ left), -1))
        row = unit[pick]
        for _ in range(2):
            # Once leaves a trace of earlier texts where little of this one is left.
            row = row - (found @ row) @ found
        norm = jnp.linalg.norm(row)
        q = jnp.where(norm > 1e-10, row / jnp.where(norm > 1e-10, norm, 1), 0)
        left = left - (q @ left) * q
        return (left, found.at[number].set(q), free.at[pick].set(False)), (pick.astype(jnp.int32), left @ left)

    start = (direction, jnp.zeros((steps, texts.shape[1]), dtype), jnp.ones(len(texts), bool))
    _, (picks, left) = jax.lax.scan(step, start, jnp.arange(steps))
    whole = direction @ direction
    weights = jnp.linalg.lstsq(texts[picks].T, direction)[0]
    return SparseTexts(picks, weights, 1 - left / jnp.where(whole > 0, whole, 1))


def _unit(x: AnyArray) -> Array:
    norm = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jnp.asarray(x) / jnp.where(norm > 0, norm, 1)
