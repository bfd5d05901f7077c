"""Retrieval by some heads only: images alike in what those heads see.

Source: arXiv:2310.05916, section 5.2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxclip.axes import AnyArray


class Neighbours(NamedTuple):
    """For each query its nearest images, nearest first, and their cosine similarity."""

    indices: Int[Array, "query k"]
    similarity: Float[Array, "query k"]


def head_sum(
    coordinates: Float[AnyArray, "batch layer head unit"],
    matrices: Float[AnyArray, "layer head unit embed"],
    heads: Bool[AnyArray, "layer head"] | Float[AnyArray, "layer head"],
    means: Float[AnyArray, "layer head embed"] | None = None,
) -> Float[Array, "batch embed"]:
    """What chosen heads together add to the embedding: the vectors that images are compared by.

    Args:
      coordinates: of head_state.
      matrices: of head_matrices.
      heads: True (or a weight) for the chosen ones.
      means: mean contribution of every head, subtracted: else all images are alike in what is the same for all.
    """
    weights = jnp.asarray(heads, jnp.float32)
    total = jnp.einsum("blhu,lhue,lh->be", coordinates, matrices, weights, precision="highest")
    if means is None:
        return total
    return total - jnp.einsum("lhe,lh->e", means, weights, precision="highest")


def nearest(
    queries: Float[AnyArray, "query embed"],
    images: Float[AnyArray, "batch embed"],
    k: int,
    *,
    exclude: Int[AnyArray, "query"] | None = None,
) -> Neighbours:
    """The k images of largest cosine similarity to each query; of equal ones the first.

    Args:
      queries: embeddings, `head_sum` of some images, or of texts.
      images: the same of the images to search.
      k: how many.
      exclude: for each query an image that is not an answer, itself as a rule; -1 excludes none.

    Raises:
      ValueError: k is less than 1 or more than there are images to find.
    """
    n = len(images) - (exclude is not None)
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and {n}, the images to choose from; got {k}.")
    scores = jnp.einsum("qe,be->qb", _unit(queries), _unit(images), precision="highest")
    if exclude is not None:
        scores = jnp.where(jnp.arange(len(images)) == jnp.asarray(exclude)[:, None], -jnp.inf, scores)
    similarity, indices = jax.lax.top_k(scores, k)
    return Neighbours(indices, similarity)


def precision(
    neighbours: Neighbours, labels: Int[AnyArray, "batch"], query_labels: Int[AnyArray, "query"]
) -> Float[Array, "query"]:
    """Share of a query's neighbours that have its label: precision@k."""
    return (jnp.asarray(labels)[neighbours.indices] == jnp.asarray(query_labels)[:, None]).mean(-1)


def chance(
    labels: Int[AnyArray, "batch"], query_labels: Int[AnyArray, "query"], *, exclude: bool = False
) -> Float[Array, "query"]:
    """Expected precision of images drawn at random; with `exclude`, of a query among the images and never drawn."""
    same = (jnp.asarray(labels) == jnp.asarray(query_labels)[:, None]).sum(-1)
    return (same - exclude) / (len(labels) - exclude)


def _unit(x: AnyArray) -> Array:
    norms = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return x / jnp.where(norms > 0, norms, 1)
