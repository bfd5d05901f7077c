"""Moments of a batch whose parts lie on several devices: each takes its own part's, and what is summed is the moments.

Merging n parts at once is Chan's formula with all of them about the common mean, c_i the counts and m_i the means:

    mean = sum(c_i m_i) / sum(c_i),      spread = sum(spread_i + c_i (m_i - mean)(m_i - mean)ᵀ)

Samples are never gathered: the sums run over an axis that is split over devices, and are all that crosses them.
"""

from dataclasses import fields, replace

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.devices.sharding import DATA, STATE_AXES, spec
from jaxclip.model.head_coordinates import HeadState
from jaxclip.numerics.moments import Moments, Pair
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.moment_places import stack_spec


def add_sharded(
    all_: Collected,
    state: HeadState,
    weights: Float[AnyArray, "batch"],
    mesh: Mesh,
    labels: Int[AnyArray, "batch"] | None = None,
) -> Collected:
    """`all_.add(state, weights)` where the batch is split over the mesh's data axis: equal but for rounding.

    Args:
      all_: moments so far, whole on every part of the data axis.
      state: one batch; every device has an equal part of it.
      weights: of its images.
      labels: with them, `all_.add_by(state, weights, labels)`: every value's moments are summed, present or not.
    """

    def cut(x: Array, axes: str) -> Array:
        x = x.reshape(mesh.shape[DATA], -1, *x.shape[1:])
        own = PartitionSpec(DATA, None, *spec(axes)[1:])
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, own))

    state = HeadState(**{name: cut(getattr(state, name), axes) for name, axes in STATE_AXES.items()})
    zero = jax.tree.map(jnp.zeros_like, all_)
    weights = cut(jnp.asarray(weights), "b")
    if labels is None:
        parts = jax.vmap(zero.add)(state, weights)
    else:
        parts = jax.vmap(zero.add_by)(state, weights, cut(jnp.asarray(labels), "b"))
    return Collected(**{field.name: _merged(field.name, all_, parts, mesh) for field in fields(Collected)})


def _merged(name: str, all_: Collected, parts: Collected, mesh: Mesh) -> Moments:
    own = stack_spec(name, getattr(all_, name).count.ndim)

    def put(x: Array, *front: str) -> Array:
        where = PartitionSpec(*front, *own)
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, where))

    stack = jax.tree.map(lambda x: put(x, DATA), getattr(parts, name))
    # Pinned before the merge, so that it is the sums that are made whole and not the parts.
    added = jax.tree.map(put, summed(stack))
    return getattr(all_, name).merge(added)


def summed(stack: Moments) -> Moments:
    """A stack of moments merged along its leading axis with sums alone; `jaxclip.numerics.moments.combined` in one
    step.

    Args:
      stack: the moments of each part; parts of count 0 leave no trace.
    """
    count = stack.count.sum(0)
    share = stack.count / jnp.maximum(count, 1e-30)
    rough = (share[..., None] * stack.centre.value).sum(0)
    apart = (stack.centre.value - rough) + stack.centre.rest
    # What a float32 sum of means rounds off, found by a second one of what is left.
    rest = (share[..., None] * apart).sum(0)
    apart = apart - rest
    between = stack.count[..., None, None] * apart[..., :, None] * apart[..., None, :]
    spread = stack.spread + Pair(between, jnp.zeros_like(between))
    nothing = jnp.zeros_like(rest)
    centre = Pair(rough, nothing) + Pair(rest, nothing)
    return replace(stack, count=count, centre=centre, spread=_sum(spread), basis=_first(stack.basis))


def _sum(stack: Pair) -> Pair:
    """Sum over the leading axis to more than float32, whatever the order in which devices are added.

    Values are cut at a multiple of one step per matrix, coarse enough that sums of multiples are exact; what is cut off
    is summed by itself.
    """
    largest = len(stack.value) * jnp.abs(stack.value).max((0, -2, -1), keepdims=True)[0]
    # Twice the power of two below: the exponent's bits alone, since exp2 need not be exact.
    exponent = jax.lax.bitcast_convert_type(largest, jnp.int32) & 0x7F800000
    anchor = 3 * jax.lax.bitcast_convert_type(exponent, jnp.float32)
    coarse = (stack.value + anchor) - anchor
    fine = (stack.value - coarse) + stack.rest
    total, rest = coarse.sum(0), fine.sum(0)
    nothing = jnp.zeros_like(total)
    return Pair(total, nothing) + Pair(rest, nothing)


def _first(basis: Array | None) -> Array | None:
    return None if basis is None else basis[0]
