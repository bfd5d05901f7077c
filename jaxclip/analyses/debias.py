"""Removing spurious cues: heads that hold a cue are mean-ablated, and accuracy is taken group by group.

Source: arXiv:2310.05916, section 4, on spurious cues.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxclip.analyses.ablation import Ablation, check_labels
from jaxclip.analyses.ablation_sweeps import ablation_means, sweep
from jaxclip.axes import AnyArray
from jaxclip.data.source import kinds_there
from jaxclip.model.components import Components
from jaxclip.numerics.arrays import counted, numbers, percents, shown
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.runs.run import Run

BLOCK = 512
"""Images read together where means are taken."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GroupCounts:
    """Images and correctly classified images of each group; counts of batches add up."""

    correct: Float[Array, "*sets group"]
    total: Float[Array, "*sets group"]

    def __repr__(self) -> str:
        """Accuracy overall and of every group, or the shape of a stack of sets."""
        total = numbers(self.total)
        if total is None or total.ndim != 1:
            return f"GroupCounts({shown(self.total)})"
        groups = percents(np.asarray(self.groups))
        return f"GroupCounts({counted(int(total.sum()), 'image')}, {self.overall:.1%}; groups {groups})"

    def __add__(self, other: "GroupCounts") -> "GroupCounts":
        return jax.tree.map(jnp.add, self, other)

    @property
    @on_own_terms
    def overall(self) -> Float[Array, "*sets"]:
        """Accuracy over all images; NaN without images."""
        return self.correct.sum(-1) / self.total.sum(-1)

    @property
    @on_own_terms
    def groups(self) -> Float[Array, "*sets group"]:
        """Accuracy of each group; NaN for a group without images."""
        return self.correct / self.total

    @on_own_terms
    def weighted(self, weights: Float[AnyArray, "group"]) -> Float[Array, "*sets"]:
        """Mean of the groups' accuracies by weights, such as the training split's images of each group.

        It is what the literature on Waterbirds calls average accuracy: the groups of its test split are not in the
        training split's proportions. NaN where a group of some weight has no images.
        """
        shares = jnp.asarray(weights, jnp.float32) / np.sum(np.asarray(weights, np.float64))
        return jnp.where(shares > 0, self.groups * shares, 0).sum(-1)

    @property
    @on_own_terms
    def worst(self) -> Float[Array, "*sets"]:
        """Of the groups that have images, the lowest accuracy."""
        return jnp.nanmin(self.groups, axis=-1)


@on_own_terms
def count_groups(
    correct: Bool[AnyArray, "*sets batch"],
    groups: Int[AnyArray, "batch"],
    n_groups: int,
    weights: Float[AnyArray, "batch"] | None = None,
) -> GroupCounts:
    """Images of each group, and how many of them are classified correctly.

    Args:
      correct: from `jaxclip.analyses.ablation.correct`, for any number of sets.
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


def grouped_rows(run: Run, label: str, groups: str) -> Int[np.ndarray, "image"]:
    """Numbers of the images of a run that have both a label and a group.

    Raises:
      ValueError: the run has no labels of these kinds, or no image has both.
    """
    for kind in (label, groups):
        if kind not in run.label_names:
            there = kinds_there(run.label_names)
            raise ValueError(f"{run.folder} has no labels of kind {kind!r}, which debiasing needs; it has {there}.")
    rows = run.labelled(label, groups)
    if not len(rows):
        raise ValueError(f"no image of {run.folder} has both a {label} and a {groups}; run it over images that do.")
    return rows


@on_own_terms
def sets_by_group(
    run: Run,
    rows: Int[np.ndarray, "image"],
    means: Components,
    classes: Float[AnyArray, "text embed"],
    label: str | Int[np.ndarray, "readable"],
    groups: str,
    sets: Sequence[Sequence[tuple[int, int]]],
) -> GroupCounts:
    """Zero-shot classification by group under each of many sets of ablated heads, from a run's bank.

    Args:
      run: with a bank.
      rows: which of its images, from `grouped_rows`.
      means: of `group_means`.
      classes: class embeddings.
      label: the kind of label that says the class, or the class of every image of the run.
      groups: the kind that says the group.
      sets: (layer, head) of each set's heads.

    Raises:
      ValueError: labels out of range, or a head that the model has not.
    """
    vision = run.config.vision
    ablations = Ablation.stack([Ablation.of(vision.n_layers, vision.n_heads, heads=heads) for heads in sets])
    labels = run.labels[label] if isinstance(label, str) else label
    right = sweep(run, rows, means, classes, labels[rows], ablations)
    return count_groups(right, run.labels[groups][rows], len(run.label_names[groups]))


def random_draws(run: Run, size: int, late: int, n_sets: int, seed: int) -> list[list[tuple[int, int]]]:
    """`random_heads` of a run's last layers, by name.

    Raises:
      ValueError: no sets, or fewer heads than `size`.
    """
    if n_sets < 1:
        raise ValueError(f"at least one set of random heads is needed to compare with; got {n_sets}.")
    n_layers, n_heads = run.config.vision.n_layers, run.config.vision.n_heads
    drawn = random_heads(n_sets, size, range(n_layers - late, n_layers), n_layers, n_heads, seed)
    return [[(int(layer), int(head)) for layer, head in np.argwhere(mask)] for mask in np.asarray(drawn.heads)]


@on_own_terms
def group_means(run: Run, other: Run, kinds: Iterable[str]) -> Components:
    """Means of every term over the images of a run that have all of these kinds of label: what ablated terms become.

    Where few images of a data set are of the groups in question, the others would only shift all of these alike.

    Args:
      run: whose images are classified.
      other: where means come from, the same run or a held-out one. Without a bank or without these labels it gives the
        means over all of its images.
      kinds: of label.

    Raises:
      ValueError: the other run is of another model or in other units.
    """
    means = ablation_means(run, other)
    there = [kind for kind in kinds if kind in other.label_names]
    chosen = other.labelled(*there) if there and other.info["options"]["bank"] else np.zeros(0, np.int64)
    if not len(chosen) or len(chosen) == other.n_images:
        return means
    total, components = None, partial(Components.of_state, matrices=run.matrices)
    for start in range(0, len(chosen), BLOCK):
        rows = chosen[start : start + BLOCK]
        part = jax.tree.map(lambda x, n=len(rows): x * (n / len(chosen)), components(other.head_state(rows)).mean())
        total = part if total is None else jax.tree.map(jnp.add, total, part)
    return means if total is None else total


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
        raise ValueError(f"{counted(size, 'head')} are to be drawn from {len(places)}; name more layers or draw fewer.")
    rng = np.random.default_rng(seed)
    draws = [rng.choice(len(places), size, replace=False) for _ in range(n_sets)]
    return Ablation.stack([Ablation.of(n_layers, n_heads, heads=[places[i] for i in draw]) for draw in draws])
