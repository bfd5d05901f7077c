"""The residual stream: one scan over the blocks of a tower, with a name for everything that happens on the way.

Whatever is to be known of a forward pass is kept by a function of a block's taps:

    def keep(carry, taps, block, beside):
        return carry, taps.middle          # the stream between attention and MLP, stacked over layers

    x, carry, middles = stream(tower.blocks, x, config, compute, keep)

XLA drops every tap that nobody keeps, so a name costs nothing, and depth does not change the size of a program.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float

from jaxclip.axes import AnyArray
from jaxclip.config import Compute, TextConfig, VisionConfig
from jaxclip.model import blocks
from jaxclip.model.blocks import Blocks


class Taps(NamedTuple):
    """Everything that one block computes, in the order in which it happens.

    Attributes:
      x: the residual stream that enters.
      q: queries.
      k: keys.
      v: values, their biases included.
      mixed: values mixed by the pattern, head by head.
      attended: what attention adds to the stream.
      middle: the stream between attention and MLP, x + attended.
      hidden: the MLP's neurons after the activation.
      added: what the MLP adds to the stream.
      leaving: the residual stream that leaves, middle + added.
    """

    x: Float[Array, "batch token width"]
    q: Float[Array, "batch head token head_dim"]
    k: Float[Array, "batch head token head_dim"]
    v: Float[Array, "batch head token head_dim"]
    mixed: Float[Array, "batch head token head_dim"]
    attended: Float[Array, "batch token width"]
    middle: Float[Array, "batch token width"]
    hidden: Float[Array, "batch token neuron"]
    added: Float[Array, "batch token width"]
    leaving: Float[Array, "batch token width"]


class Changes(NamedTuple):
    """What a pass does otherwise than the tower by itself, layer by layer; None leaves everything in place.

    Attributes:
      heads: multiplies the mixed values of each head.
      mlps: multiplies what each MLP adds.
      nudges: added to each pattern after the softmax; gradients by it are gradients by the pattern.
    """

    heads: Float[AnyArray, "layer head"] | Bool[AnyArray, "layer head"] | None = None
    mlps: Float[AnyArray, "layer"] | Bool[AnyArray, "layer"] | None = None
    nudges: Float[Array, "layer batch head query token"] | None = None


Keep = Callable[[Any, Taps, Blocks, Any], tuple[Any, Any]]
"""`keep(carry, taps, block, beside)` -> what the next block gets as `carry`, and what is stacked over layers."""


def stream(
    layers: Blocks,
    x: Float[Array, "batch token width"],
    config: VisionConfig | TextConfig,
    compute: Compute,
    keep: Keep = lambda carry, taps, block, beside: (carry, None),
    carry: Any = None,
    *,
    visible: Bool[Array, "#batch #query token"] | None = None,
    changes: Changes = Changes(),
    beside: Any = None,
) -> tuple[Float[Array, "batch token width"], Any, Any]:
    """Run the residual stream through blocks, and keep of each what `keep` says.

    Args:
      layers: blocks, stacked on their first axis: all of a tower, or some that follow each other.
      x: what enters the first of them.
      config: of the tower.
      compute: how it calculates.
      keep: what is kept of a block's taps.
      carry: what `keep` gets first.
      visible: True where a position may look.
      changes: ablations and nudges.
      beside: anything else that `keep` needs of each layer, stacked alike.

    Returns:
      The stream that leaves the last block, the last carry, and what was kept, layer first.
    """

    def step(state, layer):
        x, carry = state
        block, own, extra = layer
        taps = run_block(block, x, config, compute, visible=visible, changes=own)
        carry, kept = keep(carry, taps, block, extra)
        return (taps.leaving, carry), kept

    (x, carry), kept = jax.lax.scan(step, (x, carry), (layers, changes, beside))
    return x, carry, kept


def run_block(
    block: Blocks,
    x: Float[Array, "batch token width"],
    config: VisionConfig | TextConfig,
    compute: Compute,
    *,
    visible: Bool[Array, "#batch #query token"] | None = None,
    changes: Changes = Changes(),
) -> Taps:
    """Run one block; `changes` are those of its layer alone, without the layer axis."""
    q, k, v = blocks.project_in(block, x, config.eps, compute)
    if changes.nudges is None:
        mixed = blocks.attend(q, k, v, visible, compute)
    else:
        mixed = blocks.mix(q, k, v, visible, compute, changes.nudges)
    if changes.heads is not None:
        mixed = mixed * changes.heads[:, None, None].astype(mixed.dtype)
    attended = blocks.project_out(block, mixed, compute)
    middle = x + attended
    hidden, added = blocks.mlp(block, middle, config.activation, config.eps, compute)
    if changes.mlps is not None:
        added = added * changes.mlps.astype(added.dtype)
    return Taps(x, q, k, v, mixed, attended, middle, hidden, added, middle + added)
