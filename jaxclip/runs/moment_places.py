"""Where a pass's moments lie on several devices: heads with their weights, all else on every device."""

from dataclasses import fields
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxclip.devices.sharding import put_whole, spec
from jaxclip.runs.component_moments import Collected

MOMENT_STACKS = {"heads": "l h", "mlp": "l", "init": "", "class_attn": "l", "embedding": ""}
"""Leading axes of a pass's moments (`jaxclip.runs.component_moments.Collected`); their samples' own axes are never
split."""


def place_moments(moments: dict[str, Collected], mesh: Mesh) -> dict[str, Collected]:
    """A pass's moments where they are kept: heads with their weights, all else on every device."""
    return jax.tree.map(lambda x, part: put_whole(x, NamedSharding(mesh, part)), moments, moment_specs(moments))


def moment_specs(moments: dict[str, Collected]) -> dict[str, Collected]:
    """A `PartitionSpec` for every leaf; those of a label's values have one more axis in front, which is whole."""
    return {kind: Collected(**{f.name: _specs(f.name, getattr(own, f.name)) for f in fields(own)})
            for kind, own in moments.items()}  # fmt: skip


def _specs(name: str, moments: Any) -> Any:
    where = stack_spec(name, np.ndim(moments.count))
    return jax.tree.map(lambda leaf: where, moments)


def stack_spec(name: str, n_axes: int) -> PartitionSpec:
    """Where a stack of a component's moments lies: axes in front of its own, such as a label's values, are whole."""
    own = spec(MOMENT_STACKS[name])
    return PartitionSpec(*(None,) * (n_axes - len(own)), *own)
