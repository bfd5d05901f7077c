"""TextSpan: the texts whose directions, one after another, span most of what a component varies in.

With Sigma the covariance of the component's contributions, each step picks the text r with the largest variance of
contributions along it, unnormalised, rᵀ Sigma r, and removes its direction q = r / |r| from contributions and texts:

    a = qᵀ r,      r <- r - a q,      score <- score - 2 a rᵀ Sigma q + a² qᵀ Sigma q

so a step reads the texts once and never the samples: moments are enough. Texts are first projected on the `rank` top
right singular vectors of the samples, which are not centred for this, and everything is written in those coordinates.

Near-equal texts are told apart by precision, so all of it runs in float64 whatever JAX's default, inside `jax.jit` and
`jax.vmap` too (see `jaxclip.numerics.precision`).

Source: arXiv:2310.05916, section 4.2, algorithm 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray, as_array
from jaxclip.model.head_coordinates import N_CONSTANTS, unit_size
from jaxclip.numerics.arrays import counted, numbers, percents, shown
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import finite, in_double

ROUNDING = 1e-13
"""Share of the second moment below which samples in float32 hold nothing but their own rounding."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TextSpan:
    """The text basis of one component; a pytree, so the bases of a model's heads are one stack of it.

    `indices` are places in the pool, in the order picked; -1 where nothing was left to explain. `directions` are
    orthonormal (zero there), `explained` is the share of the component's variance that they span up to each step.
    """

    indices: Int[AnyArray, "*stack step"]
    directions: Float[AnyArray, "*stack step embed"]
    explained: Float[AnyArray, "*stack step"]
    mean: Float[AnyArray, "*stack embed"]

    def __repr__(self) -> str:
        """One basis as its texts' places and the variance they explain so far, a stack as its shape."""
        indices, explained = numbers(self.indices), numbers(self.explained)
        if indices is None or explained is None or indices.ndim != 1:
            return f"TextSpan(indices {shown(self.indices)}, embed {shown(self.mean)})"
        texts = ", ".join(f"{index:.0f}" for index in indices[:5]) + (", .." if len(indices) > 5 else "")
        return f"TextSpan({counted(len(indices), 'step')}: texts {texts} explain {percents(explained)})"

    @on_own_terms
    def coefficients(self, samples: Float[AnyArray, "n embed"]) -> Float[Array, "n step"]:
        """How far each sample lies from the mean along each direction."""
        return jnp.einsum("ne,se->ns", samples - self.mean, self.directions, precision="highest")

    @on_own_terms
    def reconstruct(self, samples: Float[AnyArray, "n embed"]) -> Float[Array, "n embed"]:
        """mean + projection of (samples - mean) on the directions."""
        return jnp.asarray(self.mean) + jnp.einsum(
            "ns,se->ne", self.coefficients(samples), self.directions, precision="highest"
        )

    def first(self, n: int) -> "TextSpan":
        """The same basis cut after n steps."""
        return TextSpan(self.indices[..., :n], self.directions[..., :n, :], self.explained[..., :n], self.mean)


@on_own_terms
def textspan(
    moments: Moments | Float[AnyArray, "n embed"] | Any,
    texts: Float[AnyArray, "text embed"] | Any,
    *,
    steps: int = 20,
    rank: int | None = None,
) -> TextSpan:
    """The text basis of one component; `jax.vmap` over a stack of moments gives every head's.

    >>> import numpy as np
    >>> moments = jaxclip.Moments.of(np.array([[1.0, 0.0], [-1.0, 0.0], [3.0, 0.0]], np.float32))
    >>> span = jaxclip.textspan(moments, np.eye(2, dtype=np.float32), steps=1)
    >>> span.indices.tolist(), span.explained.tolist()
    ([0], [1.0])

    Equals the algorithm run on the samples themselves. The first n steps are the result of n steps.

    Args:
      moments: of the component's contributions, `Moments.of(samples)` or in head coordinates; or the samples
        themselves, one a row, which then must fit into memory.
      texts: embeddings of the pool; their scale is kept and matters, so give all of them unit norm.
      steps: texts to pick, at most the rank. Where nothing is left to explain, as after the last text of a small pool,
        what follows is empty (-1).
      rank: of the space that texts are projected on. Default: head_dim for moments in head coordinates; for plain
        samples every direction with more than a ten-millionth of the second moment of the strongest, which leaves out
        what is only rounding. A rank above what the samples can have, head_dim + 3 for a head, is cut to that: the
        paper's code has 80, more than a head really has, so that its last directions are such noise. `sizes` says what
        is used.

    Raises:
      ValueError: no texts, texts of another size than the samples, steps or rank out of range, moments of no samples,
        NaN (the last two where values are known: not under jit).
    """
    texts = as_array(texts, "texts", "clip.encode_text(texts, normalize=True) makes them from strings.")
    if not isinstance(moments, Moments):
        samples = as_array(moments, "samples", "Contributions of one component are, [n, embed].")
        if samples.ndim > 2:
            raise ValueError(
                f"textspan takes the samples of one component, [n, embed]; got {list(samples.shape)}. Choose one, such "
                f"as contributions.attn[:, layer, head], or map over them with jax.vmap."
            )
        moments = Moments.of(samples)
    floor = 1e-7 if rank is None and moments.basis is None else ROUNDING
    if texts.ndim != 2 or texts.shape[0] == 0 or texts.shape[1] != _embed(moments):
        raise ValueError(f"texts must be [text, {_embed(moments)}] with at least one text; got {list(texts.shape)}.")
    steps, rank = sizes(moments, steps, rank)
    if not finite((moments, texts)):
        raise ValueError("moments or texts hold NaN or infinite values; remove those samples or texts.")
    return in_double(partial(_textspan, steps=steps, rank=rank, floor=floor), moments, jnp.asarray(texts))


@on_own_terms
def head_bases(
    moments: Moments,
    texts: Float[AnyArray, "text embed"],
    *,
    steps: int = 20,
    rank: int | None = None,
    devices: Sequence[Any] | None = None,
) -> TextSpan:
    """The text bases of a stack of heads [layer, head]; other arguments and errors as in `textspan`.

    As there, a rank above a head's own, head_dim + 3, is cut to that.

    Args:
      devices: that share the heads out; by default all of this host. Nothing crosses them.
    """
    if not finite((moments, texts)):
        raise ValueError("moments or texts hold NaN or infinite values; remove those samples or texts.")
    devices = jax.local_devices() if devices is None else devices
    if len(devices) == 1 or isinstance(moments.count, jax.core.Tracer):
        return _head_bases(moments, jnp.asarray(texts), steps, rank)
    flat = jax.tree.map(lambda x: x.reshape(1, -1, *x.shape[2:]), moments)
    parts = [part for part in np.array_split(np.arange(moments.count.size), len(devices)) if len(part)]
    given = [
        jax.device_put((jax.tree.map(lambda x, part=part: x[:, part], flat), texts), device)
        for device, part in zip(devices, parts, strict=False)
    ]
    found = [_head_bases(*one, steps, rank) for one in given]
    # By way of the host: what one device holds cannot meet what several do.
    return jax.tree.map(lambda *own: _joined(own, moments.count.shape), *found)


def _joined(parts: Sequence[Array], stack: tuple[int, ...]) -> Array:
    whole = np.concatenate([np.asarray(part)[0] for part in parts])
    return jnp.asarray(whole.reshape(*stack, *whole.shape[1:]))


@partial(jax.jit, static_argnames=("steps", "rank"))
def _head_bases(moments: Moments, texts: Array, steps: int, rank: int | None) -> TextSpan:
    run = partial(textspan, steps=steps, rank=rank)
    return jax.vmap(jax.vmap(run, (0, None)), (0, None))(moments, texts)


def sizes(moments: Moments, steps: int, rank: int | None = None) -> tuple[int, int]:
    """Steps and rank that `textspan` runs with, checked without texts; a rank above what samples can have is cut.

    Raises:
      ValueError: out of range, or the moments of more than one component.
    """
    units, embed = moments.centre.value.shape[-1], _embed(moments)
    if moments.centre.value.ndim != 1:
        raise ValueError(
            f"textspan takes the moments of one component; got a stack of shape {moments.centre.value.shape[:-1]}. "
            f"Map over it: jax.vmap(textspan, in_axes=(0, None))."
        )
    if moments.basis is not None:
        return head_sizes(units - N_CONSTANTS, embed, steps, rank)
    return _sizes(min(units, embed), min(units, embed), embed, steps, rank)


def head_sizes(head_dim: int, embed_dim: int, steps: int, rank: int | None = None) -> tuple[int, int]:
    """Steps and rank that a head's basis is made with, as `sizes` says them, before there are moments.

    Raises:
      ValueError: out of range.
    """
    return _sizes(min(max(head_dim, 1), embed_dim), min(unit_size(head_dim), embed_dim), embed_dim, steps, rank)


def _sizes(default: int, most: int, embed: int, steps: int, rank: int | None) -> tuple[int, int]:
    rank = default if rank is None else rank
    if not 1 <= rank <= embed:
        raise ValueError(f"rank must be between 1 and {embed}, the size of the joint space; got {rank}.")
    rank = min(rank, most)
    if not 1 <= steps <= rank:
        raise ValueError(f"steps must be between 1 and the rank, {rank}; got {steps}. No more directions exist.")
    return steps, rank


def _embed(moments: Moments) -> int:
    return (moments.centre.value if moments.basis is None else moments.basis).shape[-1]


def _textspan(moments: Moments, texts: Array, *, steps: int, rank: int, floor: float) -> TextSpan:
    """In the widest dtype there is: `in_double` makes that float64."""
    dtype = jnp.result_type(float)
    centre, spread = moments.centre.wide(dtype), moments.spread.wide(dtype)
    covariance = spread / jnp.maximum(moments.count, 1)
    frame = None
    if moments.basis is not None:
        # An orthonormal frame of the space the component lives in, so that lengths are those of the joint space.
        frame, corner = jnp.linalg.qr(moments.basis.astype(dtype).T)
        centre, covariance = corner @ centre, _dot(_dot(corner, covariance), corner.T)
    top, factor = _factor(centre, covariance, rank, floor, moments.count)
    axes = top if frame is None else _dot(frame, top)
    picks, rows, gains = _greedy(_dot(texts.astype(dtype), axes), factor, steps)
    variance = jnp.trace(covariance)
    varies = variance > ROUNDING * (variance + jnp.square(centre).sum())
    # Where nothing varies, the mean alone explains it all.
    explained = jnp.where(varies, jnp.cumsum(gains) / jnp.where(varies, variance, 1), 1)
    mean = centre if frame is None else _dot(frame, centre)
    return TextSpan(picks, _dot(rows, axes.T), explained, mean)


def _factor(centre: Array, covariance: Array, rank: int, floor: float, count: Array) -> tuple[Array, Array]:
    """Top right singular vectors of the samples [unit, rank], and F with F Fᵀ the covariance in their coordinates."""
    sizes, vectors = jnp.linalg.eigh(covariance + jnp.outer(centre, centre))
    vectors = vectors[:, ::-1][:, :rank]
    # Directions in which all samples vanish have no order, and no text may be picked for its part in them; n samples
    # leave n directions at most.
    vectors = vectors * ((sizes[::-1][:rank] > floor * sizes[-1]) & (jnp.arange(rank) < count))
    variances, modes = jnp.linalg.eigh(_dot(_dot(vectors.T, covariance), vectors))
    return vectors, modes * jnp.sqrt(jnp.where(variances > ROUNDING * sizes[-1], variances, 0))


def _greedy(texts: Array, factor: Array, steps: int) -> tuple[Array, Array, Array]:
    """Picks, their directions and the variance along each, for texts [s, rank] and the covariance F Fᵀ."""
    scores = jnp.square(_dot(texts, factor)).sum(-1)
    # Below this, what is left of a score is rounding, and so is what sets two scores apart.
    least = 100 * jnp.finfo(texts.dtype).eps * scores.max()

    def step(carry: tuple[Array, Array, Array], number: Array):
        scores, factor, found = carry
        # Equal texts: the first of them, not the one that rounding favours.
        pick = jnp.argmax(scores >= scores.max() - least)
        row = texts[pick]
        for _ in range(2):
            # Once leaves a trace of earlier directions where little of the text is left.
            row = row - _dot(_dot(found, row), found)
        alive = scores[pick] > least
        q = jnp.where(alive, row / jnp.where(alive, jnp.linalg.norm(row), 1), 0)
        along = _dot(q, factor)
        gain = jnp.square(along).sum()
        a, b = _dot(jnp.stack([q, _dot(factor, along)]), texts.T)
        scores = scores - 2 * a * b + jnp.square(a) * gain
        factor = factor - jnp.outer(q, along)
        found = found.at[number].set(q)
        return (scores, factor, found), (jnp.where(alive, pick, -1).astype(jnp.int32), gain)

    found = jnp.zeros((steps, texts.shape[1]), texts.dtype)
    (_, _, found), (picks, gains) = jax.lax.scan(step, (scores, factor, found), jnp.arange(steps))
    return picks, found, gains


def _dot(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
