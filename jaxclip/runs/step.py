"""What a pass over a data set does with one batch: the program that `jaxclip run` runs and `jaxclip plan` compiles."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from jaxclip.axes import AnyArray
from jaxclip.devices.sharding import STATE_AXES, spec
from jaxclip.model.head_coordinates import HeadState, head_state
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.moment_places import moment_specs
from jaxclip.runs.sharded_moments import add_sharded

Units = Literal["normalized", "raw"]


@partial(jax.jit, static_argnames=("units", "mesh"), donate_argnums=0)
def step(
    moments: dict[str, Collected],
    vision: Any,
    images: Float[AnyArray, "batch height width channel"],
    weights: Float[AnyArray, "batch"],
    labels: dict[str, Any],
    units: Units,
    mesh: Mesh | None = None,
) -> tuple[dict[str, Collected], HeadState, Float[Array, "batch"]]:
    """Moments with one batch more, what the batch leaves behind, and the norms of its embeddings.

    Args:
      moments: of all images and, under the keys of `labels`, of the values of a label.
      vision: the image tower.
      images: one batch.
      weights: 0 for padding and for images that could not be read, else 1.
      labels: indices of the values.
      units: "normalized" divides everything by the norms.
      mesh: where all of these lie, if on several devices (see `jaxclip.devices.sharding`).
    """
    state = head_state(vision, images)
    norm = jnp.linalg.norm(state.embedding, axis=-1)
    if units == "normalized":
        state = state.normalized()
    if mesh is None:
        added = {
            kind: own.add_by(state, weights, labels[kind]) if kind in labels else own.add(state, weights)
            for kind, own in moments.items()
        }
        return added, state, norm

    def pin(x: Array, part: Any) -> Array:
        return jax.lax.with_sharding_constraint(x, NamedSharding(mesh, part))

    state = HeadState(**{name: pin(getattr(state, name), spec(axes)) for name, axes in STATE_AXES.items()})
    added = {kind: add_sharded(own, state, weights, mesh, labels.get(kind)) for kind, own in moments.items()}
    return jax.tree.map(pin, added, moment_specs(added)), state, norm
