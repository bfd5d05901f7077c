"""Retrieval by some heads only: images alike in what those heads see.

Source: arXiv:2310.05916, section 4, on retrieval by property.
"""

from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.devices.sharding import local_mesh, place_batch, whole_batch
from jaxclip.model.head_coordinates import head_state
from jaxclip.model.nonfinite import check_images
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics.own_terms import nan_is_a_value, on_own_terms
from jaxclip.numerics.precision import known
from jaxclip.runs.bank import Bank


class Neighbours(NamedTuple):
    """For each query its nearest images, nearest first, and their cosine similarity.

    Indices are places in the images that were searched: of a whole bank, the images' numbers.
    """

    indices: Int[Array, "query k"]
    similarity: Float[Array, "query k"]


@on_own_terms
@nan_is_a_value
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


@on_own_terms
def bank_head_sum(
    bank: Bank,
    matrices: Float[AnyArray, "layer head unit embed"],
    heads: Iterable[tuple[int, int]],
) -> Float[np.ndarray, "image embed"]:
    """`head_sum` of all images of a bank, of which only these heads are read; NaN where one could not be read.

    Args:
      bank: of a run.
      matrices: of the same run.
      heads: (layer, head) of the chosen ones, at least one, each counted once.

    Raises:
      ValueError: no heads, or one that the model has not.
    """
    heads = sorted(set(heads))
    if not heads:
        raise ValueError("at least one head is needed to compare images by; got none.")
    matrices = np.asarray(matrices)
    total = np.zeros((), np.float32)
    for layer, head in heads:
        total = total + bank.head(layer, head) @ matrices[layer, head]
    return total


@on_own_terms
def embeddings_of(
    vision: VisionTransformer,
    images: Float[AnyArray, "batch height width channel"],
    matrices: Float[AnyArray, "layer head unit embed"],
    heads: Iterable[tuple[int, int]],
    units: str,
) -> tuple[Float[Array, "batch embed"], Float[Array, "batch embed"]]:
    """Images that are not in a bank, as the bank of a run would have them: `bank_head_sum` and the embedding.

    Args:
      vision: the run's image tower.
      images: as `clip.preprocess` makes them.
      matrices: of the run.
      heads: (layer, head) of the chosen ones.
      units: of the run: "normalized" or "raw".

    Raises:
      ValueError: the tower gives NaN, naming the layer.
    """
    state = head_state(vision, images)
    if units == "normalized":
        state = state.normalized()
    check_images((state.embedding, state.heads), vision, images)
    chosen = np.zeros(matrices.shape[:2], bool)
    for head in heads:
        chosen[head] = True
    return head_sum(state.heads, matrices, chosen), state.embedding


@on_own_terms
@nan_is_a_value
def mean_precision(
    images: Float[AnyArray, "batch embed"], labels: Int[AnyArray, "batch"], k: int, block: int = 256
) -> float:
    """precision@k when every image in turn is the query and all others are searched.

    Args:
      images: what they are compared by.
      labels: 0 or more; images of a label below 0, and those that are NaN, are neither queries nor answers.
      k: how many neighbours.
      block: queries compared at once.

    Raises:
      ValueError: k is less than 1, or no more than k images have a label.
    """
    rows = np.flatnonzero((np.asarray(labels) >= 0) & there(images))
    if not 1 <= k < len(rows):
        raise ValueError(f"k must be between 1 and {len(rows) - 1}, one less than the labelled images; got {k}.")
    images, labels = np.asarray(images)[rows], np.asarray(labels)[rows]
    found = []
    for start in range(0, len(rows), block):
        # The last block begins early enough to be as long as the others, so that one program serves all.
        places = np.arange(len(rows))[max(0, min(start, len(rows) - block)) :][:block]
        near = nearest(images[places], images, k, exclude=places)
        found.append(np.asarray(precision(near, labels, labels[places]))[start - places[0] :])
    return float(np.concatenate(found).mean())


@on_own_terms
@nan_is_a_value
def nearest(
    queries: Float[AnyArray, "query embed"],
    images: Float[AnyArray, "batch embed"],
    k: int,
    *,
    exclude: Int[AnyArray, "query"] | None = None,
    mesh: Mesh | None = None,
) -> Neighbours:
    """The k images of largest cosine similarity to each query; of equal ones the first. What is NaN is no answer.

    >>> import numpy as np
    >>> found = jaxclip.nearest(np.eye(3)[:1], np.eye(3), 1)
    >>> found.indices.tolist(), found.similarity.tolist()
    ([[0]], [[1.0]])

    Args:
      queries: embeddings, `head_sum` of some images, or of texts.
      images: the same of the images to search.
      k: how many.
      exclude: for each query an image that is not an answer, itself as a rule; -1 excludes none.
      mesh: devices that share the images out; by default all of this host.

    Raises:
      ValueError: k is less than 1 or more than there are images to find, or a query is NaN.
    """
    values, asked, given = known(images), known(queries), len(images)
    if asked is not None and not there(asked).all():
        lost = np.flatnonzero(~there(asked))
        raise ValueError(f"query {lost[0]} is NaN or infinite ({len(lost)} in all); take images that could be read.")
    n = (given if values is None else int(there(values).sum())) - (exclude is not None)
    if not 1 <= k <= n:
        raise ValueError(f"k must be between 1 and {n}, the images to choose from; got {k}.")
    mesh = local_mesh() if mesh is None else mesh
    rows = whole_batch(given, mesh)
    if mesh is not None:
        images = place_batch(jnp.pad(jnp.asarray(images), ((0, rows - given), (0, 0))), mesh)
    scores = jnp.einsum("qe,be->qb", _unit(queries), _unit(images), precision="highest")
    # Of NaN nothing is known; `top_k` would take it for the largest number.
    out = jnp.isnan(scores) | (jnp.arange(rows) >= given)
    if exclude is not None:
        out = out | (jnp.arange(rows) == jnp.asarray(exclude)[:, None])
    scores = jnp.where(out, -jnp.inf, scores)
    similarity, indices = jax.lax.top_k(scores, k)
    return Neighbours(indices, similarity)


@on_own_terms
def there(images: Float[AnyArray, "batch embed"]) -> Bool[np.ndarray, "batch"]:
    """Which images of a bank could be read: the others are NaN."""
    return np.asarray(np.isfinite(np.asarray(images)).all(-1))


@on_own_terms
def precision(
    neighbours: Neighbours, labels: Int[AnyArray, "batch"], query_labels: Int[AnyArray, "query"]
) -> Float[Array, "query"]:
    """Share of a query's neighbours that have its label: precision@k."""
    return (jnp.asarray(labels)[neighbours.indices] == jnp.asarray(query_labels)[:, None]).mean(-1)


@on_own_terms
def chance(
    labels: Int[AnyArray, "batch"], query_labels: Int[AnyArray, "query"], *, exclude: bool = False
) -> Float[Array, "query"]:
    """Expected precision of images drawn at random; with `exclude`, of a query among the images and never drawn."""
    same = (jnp.asarray(labels) == jnp.asarray(query_labels)[:, None]).sum(-1)
    return (same - exclude) / (len(labels) - exclude)


def _unit(x: AnyArray) -> Array:
    norms = jnp.linalg.norm(x, axis=-1, keepdims=True)
    return jnp.asarray(x) / jnp.where(norms > 0, norms, 1)
