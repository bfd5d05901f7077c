"""Two checkpoints beside each other, head by head, from what a pass over the same images left of each.

Two training moments of one model have one joint space, and covariances compare there. Two models have two, and nothing
but texts is common to both: a head is then known by how it moves every text's score, F_a = T_a C_a with C Cᵀ the head's
covariance and T the centred embeddings of the same texts in the same order. Either way

    similarity = |F_aᵀ F_b|² / (|F_aᵀ F_a| |F_bᵀ F_b|)

in Frobenius norms: 1 where covariances are equal up to scale, 0 where nothing that moves one head moves the other.
"""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxclip.analyses.textspan import TextSpan, textspan
from jaxclip.axes import AnyArray
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import in_double, one_after_another


@on_own_terms
def similarity(
    one: Moments,
    other: Moments,
    texts: tuple[Float[AnyArray, "text embed"], Float[AnyArray, "text other_embed"]] | None = None,
) -> Float[Array, "layer head"]:
    """How alike the same heads of two checkpoints are, between 0 and 1.

    Args:
      one: of one checkpoint's heads, stacked [layer, head].
      other: of the same heads of the other.
      texts: embeddings of the same texts by either checkpoint; None for two moments of one model's training.

    Raises:
      ValueError: other layers or heads, without texts other joint spaces, or other numbers of texts.
    """
    if one.count.shape != other.count.shape:
        raise ValueError(
            f"both must have the same heads; got [layer, head] {list(one.count.shape)} and {list(other.count.shape)}. "
            f"Use pairwise_similarity for models of other sizes."
        )
    return in_double(partial(_similarity, pairs=False), one, other, *_products(one, other, texts))


@on_own_terms
def pairwise_similarity(
    one: Moments,
    other: Moments,
    texts: tuple[Float[AnyArray, "text embed"], Float[AnyArray, "text other_embed"]] | None = None,
) -> Float[Array, "layer head other_layer other_head"]:
    """`similarity` of every head of one checkpoint with every head of another, of whatever size; heads of two models
    that were trained apart have no order in common. Arguments as there."""
    found = in_double(partial(_similarity, pairs=True), one, other, *_products(one, other, texts))
    return found.reshape(*one.count.shape, *other.count.shape)


@on_own_terms
def subspace_overlap(one: Moments, other: Moments, rank: int = 5) -> Float[Array, "layer head"]:
    """Mean squared cosine of the principal angles between both covariances' top `rank` directions, same joint space.

    1 where the subspaces are one, about rank / embed for two drawn at random.

    Raises:
      ValueError: other heads or another joint space, or a rank that no head has.
    """
    most = min(one.centre.value.shape[-1], other.centre.value.shape[-1])
    if not 1 <= rank <= most:
        raise ValueError(f"rank must be between 1 and {most}, the numbers that a head is held in; got {rank}.")
    if one.count.shape != other.count.shape:
        raise ValueError(f"both must have the same heads; got {list(one.count.shape)} and {list(other.count.shape)}.")
    _products(one, other, None)
    return in_double(partial(_overlap, rank=rank), one, other)


@on_own_terms
def shared_texts(one: TextSpan, other: TextSpan) -> Float[Array, "layer head"]:
    """Texts that both bases of a head hold, over texts that either holds; bases over the same pool."""
    a, b = (jnp.asarray(span.indices) for span in (one, other))
    common = ((a[..., :, None] == b[..., None, :]) & (a >= 0)[..., :, None]).sum((-1, -2))
    return common / jnp.maximum((a >= 0).sum(-1) + (b >= 0).sum(-1) - common, 1)


@on_own_terms
def explained_by(
    moments: Moments, texts: Float[AnyArray, "text embed"], indices: Int[AnyArray, "layer head step"]
) -> Float[Array, "layer head"]:
    """Share of each head's variance that texts spanning another checkpoint's head explain in this one.

    The same measure as `TextSpan.explained`, so with a head's own picks it is that number.

    Args:
      moments: of this checkpoint's heads.
      texts: the pool, embedded by this checkpoint.
      indices: picks of the other one's `TextSpan`, -1 where there is none.
    """
    indices = jnp.asarray(indices)
    pools = jnp.where((indices >= 0)[..., None], jnp.asarray(texts)[indices], 0)
    span = jax.vmap(jax.vmap(partial(textspan, steps=indices.shape[-1])))(moments, pools)
    return jnp.asarray(span.explained[..., -1])


@on_own_terms
def text_effects(
    moments: Moments, texts: Float[AnyArray, "text embed"]
) -> tuple[Float[Array, "layer head text"], Float[Array, "layer head text"]]:
    """Mean and standard deviation, over the images, of each head's direct effect on each text."""
    directions = jnp.asarray(texts)
    if moments.basis is not None:
        directions = jnp.einsum("...ue,se->...us", moments.basis, directions, precision="highest")
    else:
        directions = directions.T
    covariance = moments.spread.value / jnp.maximum(moments.count, 1)[..., None, None]
    mean = jnp.einsum("...u,...us->...s", moments.centre.value, directions, precision="highest")
    moved = jnp.einsum("...uv,...vs->...us", covariance, directions, precision="highest")
    return mean, jnp.sqrt(jnp.maximum((moved * directions).sum(-2), 0))


@on_own_terms
def effect_correlation(
    one: Float[AnyArray, "image *rest"], other: Float[AnyArray, "image *rest"]
) -> Float[Array, "*rest"]:
    """Pearson correlation over the same images of any effects of two checkpoints; 0 where one of them never varies."""
    a, b = (x - jnp.asarray(x).mean(0) for x in (one, other))
    a, b = (x / jnp.maximum(jnp.abs(x).max(0), 1e-30) for x in (a, b))
    norm = jnp.sqrt(jnp.square(a).sum(0) * jnp.square(b).sum(0))
    return jnp.where(norm > 0, (a * b).sum(0) / jnp.where(norm > 0, norm, 1), 0)


@on_own_terms
def label_share(by_label: Moments, basis: Float[AnyArray, "*heads unit embed"] | None = None) -> Float[Array, "*heads"]:
    """How much of each head's variance lies between the values of a label: what the head knows of it, 0 to 1.

    1 - (variance within values) / (variance of all), both by their degrees of freedom, so that a head which knows
    nothing has 0 in the mean, however few images there are.

    Args:
      by_label: one set of moments a value, on the leading axis, the heads' axes after it.
      basis: from the heads' coordinates to the joint space (`jaxclip.model.head_coordinates.head_matrices`), the same
        for every value; None where samples lie in the joint space.
    """
    by_label = replace(by_label, basis=None)
    return in_double(partial(_label_share), by_label, None if basis is None else jnp.asarray(basis))


def _products(one: Moments, other: Moments, texts: tuple[AnyArray, AnyArray] | None) -> tuple[Array, Array, Array]:
    """TᵀT of one checkpoint, of both, and of the other: the metric in which covariances are compared."""
    sizes = [(m.centre.value if m.basis is None else m.basis).shape[-1] for m in (one, other)]
    if texts is None:
        if sizes[0] != sizes[1]:
            raise ValueError(f"joint spaces of {sizes[0]} and {sizes[1]} dimensions compare through texts; pass texts.")
        same = jnp.eye(sizes[0])
        return same, same, same
    a, b = (jnp.asarray(x) - jnp.asarray(x).mean(0) for x in texts)
    if len(a) != len(b) or [a.shape[1], b.shape[1]] != sizes:
        raise ValueError(
            f"texts must be the same in number, of {sizes[0]} and {sizes[1]} dimensions; got {list(a.shape)} and "
            f"{list(b.shape)}."
        )
    first, both, second = (jnp.einsum("sx,sy->xy", x, y, precision="highest") for x, y in ((a, a), (a, b), (b, b)))
    return first, both, second


def _factors(moments: Moments) -> Array:
    """[head, embed, unit] with F Fᵀ each head's covariance in the joint space, heads in one row."""
    dtype = jnp.result_type(float)
    spread = moments.spread.wide(dtype) / jnp.maximum(moments.count, 1).astype(dtype)[..., None, None]
    sizes, modes = one_after_another(jnp.linalg.eigh, spread.reshape(-1, *spread.shape[-2:]))
    factor = modes * jnp.sqrt(jnp.maximum(sizes, 0))[:, None, :]
    if moments.basis is None:
        return factor
    basis = moments.basis.astype(dtype).reshape(-1, *moments.basis.shape[-2:])
    return jnp.einsum("hue,huk->hek", basis, factor, precision="highest")


def _similarity(one: Moments, other: Moments, own: Array, both: Array, others: Array, *, pairs: bool) -> Array:
    a, b = _factors(one), _factors(other)
    both = both.astype(a.dtype)

    def size(factor: Array, metric: Array) -> Array:
        return jnp.linalg.norm(factor.T @ metric.astype(a.dtype) @ factor)

    sizes_a, sizes_b = jax.vmap(size, (0, None))(a, own), jax.vmap(size, (0, None))(b, others)

    def alike(item: tuple[Array, Array], factor: Array, its: Array) -> Array:
        mine, size = item
        whole = size * its
        return jnp.where(whole > 0, jnp.square(mine.T @ both @ factor).sum() / jnp.where(whole > 0, whole, 1), 0)

    if pairs:
        return jax.lax.map(lambda item: jax.vmap(alike, (None, 0, 0))(item, b, sizes_b), (a, sizes_a))
    return jax.vmap(alike)((a, sizes_a), b, sizes_b).reshape(one.count.shape)


def _overlap(one: Moments, other: Moments, *, rank: int) -> Array:
    def span(factor: Array) -> Array:
        return jnp.linalg.svd(factor, full_matrices=False)[0][:, :rank]

    a, b = (one_after_another(span, _factors(moments)) for moments in (one, other))
    cosines = jnp.einsum("hei,hej->hij", a, b, precision="highest")
    return (jnp.square(cosines).sum((-1, -2)) / rank).reshape(one.count.shape)


def _label_share(by_label: Moments, basis: Array | None) -> Array:
    dtype = jnp.result_type(float)
    count, centre, spread = by_label.count.astype(dtype), by_label.centre.wide(dtype), by_label.spread.wide(dtype)
    if basis is None:
        metric = jnp.eye(centre.shape[-1], dtype=dtype)
    else:
        basis = basis.astype(dtype)
        metric = jnp.einsum("...ue,...ve->...uv", basis, basis, precision="highest")
    total = count.sum(0)
    mean = (centre * count[..., None]).sum(0) / jnp.maximum(total, 1)[..., None]
    apart = centre - mean
    between = (jnp.einsum("...u,...uv,...v->...", apart, metric, apart, precision="highest") * count).sum(0)
    within = (spread * metric).sum((-1, -2, 0))
    n_values = (count > 0).sum(0)
    freedom = jnp.maximum(total - n_values, 1)
    whole = (within + between) / jnp.maximum(total - 1, 1)
    known = (whole > 0) & (total > n_values)
    return jnp.where(known, jnp.maximum(1 - within / freedom / jnp.where(whole > 0, whole, 1), 0), 0)


def onset(shares: Float[np.ndarray, "moment *stack"], part: float = 0.5) -> Int[np.ndarray, "*stack"]:
    """The training moment from which on a share stays at `part` of its last value or above, as a place among them."""
    below = np.asarray(shares) < part * np.asarray(shares)[-1]
    return np.where(below.any(0), len(below) - np.argmax(below[::-1], axis=0), 0).astype(np.int32)
