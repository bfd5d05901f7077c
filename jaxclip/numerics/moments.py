"""What a pass over the data leaves behind: count, mean and second moment, mergeable over batches, devices and hosts.

Merging follows Chan, Golub and LeVeque: with d = mean_b - mean_a and n = n_a + n_b,

    mean = mean_a + d n_b / n,      spread = spread_a + spread_b + d dᵀ n_a n_b / n

where spread is the sum of (x - mean)(x - mean)ᵀ. Everything is centred before it is squared, and running sums are
held as pairs of float32, a value and what rounding took from it: a plain float32 sum over many batches would swap
near-equal texts in TextSpan. No 64-bit mode is needed, so the same code runs inside any `jax.jit`.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.numerics.arrays import counted, numbers, shown
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import finite

ROWS = 16
"""Samples squared in one product: the fewer, the less it rounds off. 16 leave 1e-8 of the largest variance."""


class Pair(NamedTuple):
    """A number as value + rest, rest being what float32 rounded off."""

    value: Float[Array, "..."]
    rest: Float[Array, "..."]

    def __add__(self, other: "Pair") -> "Pair":  # pyright: ignore[reportIncompatibleMethodOverride]
        """Add by Knuth's two-sum: the sum of the values is exact, remainders are carried along."""
        a, b = _rounded(self.value), _rounded(other.value)
        total = a + b
        back = total - a
        error = (a - (total - back)) + (b - back)
        rest = error + (self.rest + other.rest)
        value = total + rest
        return Pair(value, rest - (value - total))

    def wide(self, dtype: jnp.dtype) -> Float[Array, "..."]:
        """Return value + rest in one array; float64 keeps all of it."""
        return self.value.astype(dtype) + self.rest.astype(dtype)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Moments:
    """Count, mean and centred second moment of samples; a pytree, so a stack of them is vmapped.

    Samples may be given in other coordinates than the joint space: `basis` then maps them there, u @ basis. That is how
    a head of an image is held in head_dim + 3 numbers (see `jaxclip.model.head_coordinates`).
    """

    count: Float[Array, "*stack"]
    centre: Pair
    spread: Pair
    basis: Float[Array, "*stack unit embed"] | None = None

    def __repr__(self) -> str:
        """Say how many samples, of how many numbers each, in stacks of which shape."""
        *stack, size = getattr(self.centre.value, "shape", ("?",))
        counts = numbers(self.count)
        some = "" if counts is None or not counts.size else f"{counts.min():g} to {counts.max():g} "
        some = f"{counts.min():g} " if some and counts is not None and counts.min() == counts.max() else some
        space = "" if self.basis is None else f", in head coordinates of {shown(self.basis)}"
        each = counted(size, "number") if size != "?" else "? numbers"
        return f"Moments(of {some}samples of {each}{f', a stack of {stack}' if stack else ''}{space})"

    @classmethod
    @on_own_terms
    def of(
        cls,
        samples: Float[AnyArray, "n unit"],
        weights: Float[AnyArray, "n"] | None = None,
        basis: Float[AnyArray, "unit embed"] | None = None,
    ) -> "Moments":
        """Take the moments of samples; the mean is their mean and the covariance divides by their number.

        Args:
          samples: one a row, in the joint space or, with `basis`, in coordinates.
          weights: how often each counts. A sample of weight 0 leaves no trace, whatever it holds, so padding is free.
          basis: from coordinates to the joint space.

        Raises:
          ValueError: no samples, not a matrix, or NaN or infinite samples (where values are known: not under jit).
        """
        if samples.ndim != 2 or 0 in samples.shape:
            raise ValueError(f"samples must be [n, embed] with at least one of each; got {list(samples.shape)}.")
        if basis is not None and basis.shape[0] != samples.shape[1]:
            raise ValueError(
                f"basis must have {counted(samples.shape[1], 'row')}, one a coordinate; got {list(basis.shape)}."
            )
        samples = jnp.asarray(samples, jnp.float32)
        weights = jnp.ones(len(samples)) if weights is None else jnp.asarray(weights, jnp.float32)
        moments = _of(samples, weights)
        if not finite(moments.centre.value):
            raise ValueError("samples hold NaN or infinite values; remove those samples or give them weight 0.")
        if not finite(moments.spread.value):
            raise ValueError("samples hold values too large to be squared in float32; divide all of them by a number.")
        return replace(moments, basis=None if basis is None else jnp.asarray(basis, jnp.float32))

    @classmethod
    @on_own_terms
    def zero(cls, size: int, basis: Float[AnyArray, "unit embed"] | None = None) -> "Moments":
        """Make moments of no samples, of `size` coordinates: where a pass begins."""
        centre, spread = jnp.zeros(size), jnp.zeros((size, size))
        own = None if basis is None else jnp.asarray(basis)
        return cls(jnp.zeros(()), Pair(centre, centre), Pair(spread, spread), own)

    @property
    @on_own_terms
    def mean(self) -> Float[Array, "*stack embed"]:
        """In the joint space."""
        if self.basis is None:
            return self.centre.value
        return jnp.einsum("...u,...ue->...e", self.centre.value, self.basis, precision="highest")

    @property
    @on_own_terms
    def covariance(self) -> Float[Array, "*stack embed embed"]:
        """In the joint space; divided by the count, zero for no samples."""
        own = self._own_covariance()
        if self.basis is None:
            return own
        return jnp.einsum("...ue,...uv,...vf->...ef", self.basis, own, self.basis, precision="highest")

    @property
    @on_own_terms
    def variance(self) -> Float[Array, "*stack"]:
        """Summed over the axes of the joint space: the covariance's trace."""
        own = self._own_covariance()
        if self.basis is None:
            return jnp.trace(own, axis1=-2, axis2=-1)
        return jnp.einsum("...ue,...uv,...ve->...", self.basis, own, self.basis, precision="highest")

    def _own_covariance(self) -> Float[Array, "*stack unit unit"]:
        return self.spread.value / jnp.maximum(self.count, 1)[..., None, None]

    @on_own_terms
    def update(self, samples: Float[AnyArray, "n unit"], weights: Float[AnyArray, "n"] | None = None) -> "Moments":
        """Add these samples; arguments as in `of`."""
        return self.merge(Moments.of(samples, weights))

    @on_own_terms
    def merge(self, other: "Moments") -> "Moments":
        """Merge two sets of samples' moments; associative, and `zero` changes nothing. The basis must be the same.

        Raises:
          ValueError: the two have different coordinates.
        """
        if self.centre.value.shape != other.centre.value.shape:
            raise ValueError(
                f"moments of {self.centre.value.shape} coordinates cannot be merged with {other.centre.value.shape}; "
                f"both must come from the same model and component."
            )
        total = self.count + other.count
        share = jnp.where(total > 0, other.count / jnp.maximum(total, 1e-30), 0.0)
        apart = other.centre + Pair(-self.centre.value, -self.centre.rest)
        between = apart.value[..., :, None] * apart.value[..., None, :] * (share * self.count)[..., None, None]
        centre = self.centre + Pair(apart.value * share[..., None], apart.rest * share[..., None])
        spread = self.spread + other.spread + _exact(between)
        return Moments(total, centre, spread, self.basis if self.basis is not None else other.basis)


@on_own_terms
def combined(stack: Moments) -> Moments:
    """Merge a stack of moments along its leading axis: what devices or hosts each hold becomes what all saw."""
    first, rest = jax.tree.map(lambda x: x[0], stack), jax.tree.map(lambda x: x[1:], stack)
    return jax.lax.scan(lambda one, other: (one.merge(other), None), first, rest)[0]


@on_own_terms
def by_label(samples: Float[AnyArray, "n unit"], labels: AnyArray, n_labels: int) -> Moments:
    """Take moments for each label, stacked; samples whose label lies outside of 0 .. n_labels - 1 are in none."""
    chosen = jnp.asarray(labels)[None] == jnp.arange(n_labels)[:, None]
    return jax.vmap(Moments.of, (None, 0))(jnp.asarray(samples), chosen.astype(jnp.float32))


@jax.jit
def _of(samples: Array, weights: Array) -> Moments:
    n, size = samples.shape
    rows = min(ROWS, n)
    padding = -n % rows
    samples = jnp.pad(samples, ((0, padding), (0, 0))).reshape(-1, rows, size)
    weights = jnp.pad(weights, (0, padding)).reshape(-1, rows)
    if len(samples) == 1:
        return _part(samples[0], weights[0])
    return jax.lax.scan(lambda all, part: (all.merge(_part(*part)), None), Moments.zero(size), (samples, weights))[0]


def _part(samples: Array, weights: Array) -> Moments:
    samples = jnp.where(weights[:, None] > 0, samples, 0.0)
    count = weights.sum()
    centre = _rounded(jnp.einsum("n,nu->u", weights, samples, precision="highest") / jnp.maximum(count, 1e-30))
    apart = samples - centre
    # What is left of the mean after rounding, so that the centre too is good to more than float32.
    rest = jnp.einsum("n,nu->u", weights, apart, precision="highest") / jnp.maximum(count, 1e-30)
    # About the mean itself: a mean far larger than the spread is rounded by as much as samples lie apart.
    apart = apart - rest
    spread = jnp.einsum("nu,nv->uv", apart * weights[:, None], apart, precision="highest")
    return Moments(count, _exact(centre) + _exact(rest), _exact(spread))


def _rounded(value: Array) -> Array:
    # A compiler may contract the product a value comes from with what is done to it (FMA) in one place and not in
    # another; a mean and what is left of it must use one and the same float32. A comparison cannot be contracted;
    # lax.reduce_precision and optimization barriers are taken out before that happens.
    return jnp.maximum(value, -jnp.finfo(jnp.float32).max)


def _exact(value: Array) -> Pair:
    return Pair(value, jnp.zeros_like(value))
