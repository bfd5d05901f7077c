"""Removing spurious cues: heads that hold a cue are mean-ablated, and accuracy is taken group by group.

Source: arXiv:2310.05916, section 5.1.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxclip.ablation import Ablation, check_labels
from jaxclip.axes import AnyArray


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GroupCounts:
    """Images and correctly classified images of each group; counts of batches add up."""

    correct: Float[Array, "*sets group"]
    total: Float[Array, "*sets group"]

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        return jax.tree.map(jnp.add, self, other)

    @property
    def overall(self) -> Float[Array, "*sets"]:
        """Accuracy over all images; NaN without images."""
        return self.correct.sum(-1) / self.total.sum(-1)

    @property
    def groups(self) -> Float[Array, "*sets group"]:
        """Accuracy of each group; NaN for a group without images."""
        return self.correct / self.total

    @property
    def worst(self) -> Float[Array, "*sets"]:
        """Of the groups that have images, the lowest accuracy."""
        return jnp.nanmin(self.groups, axis=-1)


def count_groups(
    correct: Bool[AnyArray, "*sets batch"],
    groups: Int[AnyArray, "batch"],
    n_groups: int,
    weights: Float[AnyArray, "batch"] | None = None,
) -> GroupCounts:
    """Images of each group, and how many of them are classified correctly.

    Args:
      correct: from `jaxclip.ablation.correct`, for any number of sets.
      groups: 0 .. n_groups - 1 of each image.
      n_groups: how many there are.
      weights: 0 for padding.

    Raises:
      ValueError: groups out of range.
    """
    check_labels(groups, n_groups, "groups")
    member = jax.nn.one_hot(jnp.asarray(groups), n_groups)
    if weights is not None:
        member = member * jnp.asarray(weights)[:, None]
    right = jnp.einsum("...b,bg->...g", jnp.asarray(correct, member.dtype), member, precision="highest")
    return GroupCounts(right, jnp.broadcast_to(member.sum(0), right.shape))


def random_heads(
    n_sets: int,
    size: int,
    layers: Iterable[int],
    n_layers: int,
    n_heads: int,
    seed: int,
    without: Iterable[tuple[int, int]] = (),
) -> Ablation:
    """Sets of heads drawn at random, what proposed heads are to be compared with; a stack for `jax.vmap`.

    Args:
      n_sets: how many sets.
      size: heads in each.
      layers: to draw from: the proposed heads' own, or all late ones.
      n_layers: of the model.
      n_heads: in each of its layers.
      seed: the same seed draws the same sets.
      without: (layer, head) that are never drawn.

    Raises:
      ValueError: fewer heads to draw from than `size`.
    """
    excluded = set(without)
    places = [(layer, head) for layer in layers for head in range(n_heads) if (layer, head) not in excluded]
    if size > len(places):
        raise ValueError(f"{size} heads are to be drawn from {len(places)}; name more layers or draw fewer.")
    rng = np.random.default_rng(seed)
    draws = [rng.choice(len(places), size, replace=False) for _ in range(n_sets)]
    return Ablation.stack([Ablation.of(n_layers, n_heads, heads=[places[i] for i in draw]) for draw in draws])
