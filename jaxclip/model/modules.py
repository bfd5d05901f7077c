"""Flax modules made from the table of parameters: they name what a tower holds, and the table says its shapes."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxclip.model.params import Leaf, unflatten

Params = Mapping[str, Any]
"""Parameters by name, nested as the modules are."""


def fresh(leaves: Mapping[str, Leaf], sizes: Mapping[str, int], rngs: nnx.Rngs) -> dict[str, Any]:
    """Draw every parameter of a tower as it is before training, as a nested tree.

    Args:
      leaves: by dotted path.
      sizes: of every axis letter.
      rngs: drawn from once for each random array, the projection's last, so that a seed keeps its meaning.
    """

    def draw(leaf: Leaf) -> nnx.Param:
        shape, std = leaf.shape(sizes), leaf.spread(sizes)
        if not std:
            return nnx.Param(jnp.full(shape, leaf.mean, float))
        return nnx.Param(leaf.mean + std * jax.random.normal(rngs.params(), shape))

    in_order = sorted(leaves, key=lambda path: path.startswith("projection"))
    return unflatten({path: draw(leaves[path]) for path in in_order})


class Affine(nnx.Module):
    """A matrix product with a bias; the axes are named where it is used."""

    kernel: nnx.Param
    bias: Any  # nnx.Param; None for the one product without it, the text projection of most checkpoints

    def __init__(self, params: Params):
        self.kernel, self.bias = params["kernel"], params.get("bias")


class Norm(nnx.Module):
    """LayerNorm's weights."""

    scale: nnx.Param
    bias: nnx.Param

    def __init__(self, params: Params):
        self.scale, self.bias = params["scale"], params["bias"]
