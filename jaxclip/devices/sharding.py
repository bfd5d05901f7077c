"""Where every array lies when a model runs on several devices: a mesh with two axes and a table of rules.

The mesh's axis `data` splits the images of a batch, its axis `model` splits heads and neurons. The towers do not know
of it: their arrays are placed by the letters of their axes (see `jaxclip.axes`), and the compiler adds what
communication that takes. Results are those of one device, but for rounding.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxclip.config import VisionConfig
from jaxclip.model.head_coordinates import HeadState
from jaxclip.model.params import flatten, unflatten, vision_leaves
from jaxclip.numerics.arrays import counted

DATA, MODEL = "data", "model"

RULES = {"b": DATA, "h": MODEL, "m": MODEL}
"""Axis letter -> the mesh axis that splits it. All others are whole on every device."""

STATE_AXES = {"embedding": "b e", "heads": "b l h u", "mlp": "b l e", "init": "b e", "class_attn": "b l e"}
"""What a pass keeps of a batch (`jaxclip.model.head_coordinates.HeadState`)."""


def make_mesh(data: int | None = None, model: int = 1, devices: Sequence[Any] | None = None) -> Mesh:
    """Make a mesh of `data` times `model` devices.

    >>> dict(jaxclip.make_mesh(1, 1).shape)
    {'data': 1, 'model': 1}

    Args:
      data: parts that a batch is cut into; by default as many as there are devices for.
      model: parts that heads and neurons are cut into.
      devices: by default all there are, of all hosts.

    Raises:
      ValueError: there are not that many devices, some would be left over, or hosts have different numbers of them.
    """
    devices = jax.devices() if devices is None else list(devices)
    counts = Counter(device.process_index for device in devices)
    if len(set(counts.values())) > 1:
        said = ", ".join(f"host {host} has {n}" for host, n in sorted(counts.items()))
        raise ValueError(f"all hosts must have the same number of devices; {said}. Start each with as many.")
    if model < 1 or (data is not None and data < 1):
        raise ValueError(f"data and model must be at least 1; got data={data} and model={model}.")
    if data is None:
        if len(devices) % model:
            raise ValueError(f"model must divide the number of devices, {len(devices)}; got model={model}.")
        data = len(devices) // model
    if data * model != len(devices):
        raise ValueError(
            f"data * model must be the number of devices, {len(devices)}; got data={data} and model={model}. "
            f"Pass devices=jax.devices()[:n] to use some of them."
        )
    types = (AxisType.Auto,) * 2
    n_hosts = len(counts)
    if n_hosts == 1:
        return jax.make_mesh((data, model), (DATA, MODEL), axis_types=types, devices=devices)
    # A host's devices side by side, so that its part of a batch is one piece.
    by_host = np.array(sorted(devices, key=lambda device: (device.process_index, device.id)))
    # Not jax.local_device_count(): the devices may be those of a slice that is not here (see `jaxclip.planner.plan`).
    if (of_one := len(devices) // n_hosts) % model:
        raise ValueError(
            f"heads are split over the devices of one host, {of_one}; got model={model}, which does not divide that."
        )
    return Mesh(by_host.reshape(data, model), (DATA, MODEL), axis_types=types)


def default_mesh() -> Mesh | None:
    """Make a mesh of every device, each with its part of the batch; None where there is one, and nothing to split."""
    return make_mesh() if len(jax.devices()) > 1 else None


def local_mesh() -> Mesh | None:
    """Make a mesh of this host's devices, for what one host does by itself; None where there is one."""
    devices = jax.local_devices()
    return make_mesh(devices=devices) if len(devices) > 1 else None


def whole_batch(batch: int, mesh: Mesh | None) -> int:
    """Enlarge a batch until it can be split over a mesh."""
    return batch if mesh is None else batch + -batch % mesh.shape[DATA]


def check(shape: Mapping[str, int], config: VisionConfig, batch: int) -> None:
    """Refuse what cannot be cut into equal parts.

    Args:
      shape: of a mesh.
      config: the image tower.
      batch: images of one step, on all devices together.

    Raises:
      ValueError: naming the numbers and what to pass.
    """
    data, model = shape[DATA], shape[MODEL]
    if batch % data:
        whole = -(-batch // data) * data
        raise ValueError(f"a batch of {batch} cannot be split over {data} devices; pass batch={whole}.")
    if config.n_heads % model or config.mlp_dim % model:
        raise ValueError(
            f"{counted(config.n_heads, 'head')} and {counted(config.mlp_dim, 'neuron')} cannot both be split with "
            f"model={model}; take a number of devices that divides both."
        )


def spec(axes: str) -> PartitionSpec:
    """Write where an array is placed: `axes` are the letters of its axes, separated by blanks."""
    return PartitionSpec(*(RULES.get(letter) for letter in axes.split()))


def place_vision(vision: Any, mesh: Mesh, put: Callable[[Any, NamedSharding], Any] | None = None) -> nnx.Module:
    """Place an image tower, every weight where its axes say.

    Args:
      vision: a `jaxclip.model.vision.VisionTransformer`.
      mesh: from `make_mesh`.
      put: (weight, sharding) -> what to hold in its place; by default the weight itself, which every host has.
    """
    put = put or put_whole
    table = vision_leaves(vision.config)
    graph, state = nnx.split(vision)
    leaves = flatten(nnx.to_pure_dict(state))
    placed = {path: put(leaf, NamedSharding(mesh, spec(table[path].axes))) for path, leaf in leaves}
    nnx.replace_by_pure_dict(state, unflatten(placed))
    return nnx.merge(graph, state)


def place_batch(batch: Any, mesh: Mesh) -> Any:
    """Place arrays whose first axis is the batch, each device its own part: a pytree of host arrays.

    Of several hosts each gives its own part of the batch.
    """
    where = NamedSharding(mesh, spec("b"))
    if where.is_fully_addressable:
        return jax.device_put(batch, where)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(where, np.asarray(x)), batch)


def place_state(state: HeadState, mesh: Mesh) -> HeadState:
    """Place what a pass kept of a batch: images split over the data axis, heads over the model axis."""
    return HeadState(
        **{name: put_whole(getattr(state, name), NamedSharding(mesh, spec(axes))) for name, axes in STATE_AXES.items()}
    )


def put_whole(x: Any, where: NamedSharding) -> jax.Array:
    """Put an array that every host has on the devices of all."""
    if where.is_fully_addressable:
        return jax.device_put(x, where)
    held = np.asarray(x)
    return jax.make_array_from_callback(held.shape, where, lambda at: held[at])
