"""Mean-ablation: what the embedding would be, were some of its terms the same for every image.

    ablated = embedding - sum over ablated terms of (term - its mean)

Everything here is linear in the terms, so it holds as well after `project`: scores for classes in place of the
embedding, for any classifier and without running the model again. An `Ablation` is a pytree of masks; a stack of them
is vmapped.

Source: arXiv:2310.05916, sections 3.2 and 4.3.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxclip.analyses.textspan import TextSpan
from jaxclip.axes import AnyArray
from jaxclip.model.components import Components
from jaxclip.model.head_names import head_name
from jaxclip.numerics.arrays import by_shapes, counted
from jaxclip.numerics.own_terms import on_own_terms
from jaxclip.numerics.precision import known


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ablation:
    """What is replaced by its mean: True where it is. None is nothing, and costs nothing.

    >>> one = jaxclip.Ablation.of(6, 4, heads=[(5, 2)])
    >>> int(one.heads.sum())
    1
    """

    heads: Bool[AnyArray, "*sets layer head"] | None = None
    mlps: Bool[AnyArray, "*sets layer"] | None = None
    init: Bool[AnyArray, "*sets"] | None = None
    class_attn: Bool[AnyArray, "*sets layer"] | None = None

    __repr__ = by_shapes

    @classmethod
    def of(
        cls,
        n_layers: int,
        n_heads: int,
        *,
        heads: Iterable[tuple[int, int]] = (),
        layers: Iterable[int] = (),
        mlps: bool = False,
        init: bool | None = None,
        class_attn: bool = False,
    ) -> "Ablation":
        """By name.

        Args:
          n_layers: of the model.
          n_heads: in one of its layers.
          heads: (layer, head) of single heads, from 0.
          layers: attention layers to ablate whole.
          mlps: all MLPs.
          init: the input term; None ablates it along with the MLPs, as the paper's released code does, so MLPs alone
            are mlps=True, init=False.
          class_attn: the class token's attention to itself, in all layers; it goes with the heads where a whole layer
            is ablated.

        Raises:
          ValueError: a layer or head that the model has not, or `class_attn` in a layer of which some heads are ablated
            and others not: its parts by head are not kept.
        """
        chosen = np.zeros((n_layers, n_heads), bool)
        for layer, head in [*heads, *((layer, slice(None)) for layer in layers)]:
            inside = 0 <= layer < n_layers and (isinstance(head, slice) or 0 <= head < n_heads)
            if not inside:
                raise ValueError(
                    f"there is no {_place(layer, head)} in a model of {counted(n_layers, 'layer')} of "
                    f"{counted(n_heads, 'head')}; "
                    f"both count from 0."
                )
            chosen[layer, head] = True
        if class_attn and (chosen.any(-1) & ~chosen.all(-1)).any():
            raise ValueError(
                "class_attn=True needs every layer's heads ablated all together or not at all; "
                "ablate single heads with class_attn=False."
            )
        every, init = np.ones(n_layers, bool), mlps if init is None else init
        return cls(chosen, every if mlps else None, np.asarray(True) if init else None, every if class_attn else None)

    @classmethod
    def stack(cls, sets: Sequence["Ablation"]) -> "Ablation":
        """Several sets as one stack for `jax.vmap`."""

        def column(name: str) -> Bool[np.ndarray, "..."] | None:
            masks = [getattr(one, name) for one in sets]
            there = [mask for mask in masks if mask is not None]
            return np.stack([np.zeros_like(there[0]) if mask is None else mask for mask in masks]) if there else None

        return cls(*(column(field.name) for field in fields(cls)))


def single_heads(n_layers: int, n_heads: int) -> Ablation:
    """One set for each head, layer by layer: a stack for `jax.vmap`."""
    return Ablation(heads=np.eye(n_layers * n_heads, dtype=bool).reshape(-1, n_layers, n_heads))


def attention_layers(n_layers: int, n_heads: int) -> Ablation:
    """Attention layers cumulatively from the first: n_layers + 1 sets, of which the first is empty."""
    layers = np.arange(n_layers) < np.arange(n_layers + 1)[:, None]
    return Ablation(heads=np.repeat(layers[:, :, None], n_heads, axis=2))


@on_own_terms
def mean_ablate(components: Components, means: Components, ablation: Ablation) -> Float[Array, "*batch embed"]:
    """Embedding after replacing the chosen terms by their means.

    embedding - sum over chosen terms of (term - mean); choosing nothing returns the embedding itself.

    Args:
      components: of a batch, in the joint space or projected.
      means: over these images (the paper, on ImageNet) or over others (the paper, on Waterbirds), in the same space.
      ablation: one set; `jax.vmap` over a stack gives any number of sets from the same components.

    Raises:
      ValueError: `class_attn` is to be ablated but was not kept, or the means are of another model or space.

    Source: arXiv:2310.05916, section 3.2.
    """
    if components.heads.shape[-3:] != means.heads.shape[-3:]:
        raise ValueError(
            f"means must be of the same model and space: heads are {components.heads.shape[-3:]} "
            f"(layer, head, embed or class), of the means {means.heads.shape[-3:]}."
        )
    ablated = components.total()
    for chosen, letters, term, mean in _chosen(components, means, ablation):
        weights = jnp.asarray(chosen, ablated.dtype)
        ablated = ablated - jnp.einsum(f"...{letters}e,{letters}->...e", term - mean, weights, precision="highest")
    return ablated


@on_own_terms
def correct(
    components: Components,
    means: Components,
    classes: Float[AnyArray, "text embed"],
    labels: Int[AnyArray, "batch"],
    ablations: Ablation,
) -> Bool[Array, "sets batch"]:
    """Tell whether each image's nearest class is its label, under each of a stack of ablations.

    Args:
      components: of a batch, in the joint space.
      means: likewise.
      classes: class embeddings.
      labels: 0 .. number of classes - 1.
      ablations: a stack of sets.

    Raises:
      ValueError: labels out of range.
    """
    check_labels(labels, len(classes))
    # Class by class is less than dimension by dimension once there are more sets than a few.
    scores = jax.vmap(mean_ablate, (None, None, 0))(components.project(classes), means.project(classes), ablations)
    return scores.argmax(-1) == jnp.asarray(labels)


@on_own_terms
def completeness_scores(
    components: Components,
    means: Components,
    spans: TextSpan,
    classes: Float[AnyArray, "text embed"],
    ablation: Ablation = Ablation(),
) -> Float[Array, "step batch text"]:
    """Scores with late heads replaced by their reconstructions from 0, 1, .. texts, and all earlier heads by means.

    Args:
      components: of a batch, in the joint space.
      means: likewise.
      spans: of every head of the last layers, stacked [layer, head]; how many layers it has says where "late" begins.
      classes: class embeddings.
      ablation: what else is ablated, such as MLPs; its heads are ignored.

    Returns:
      Entry m uses the first m texts of each head.

    Source: arXiv:2310.05916, section 4.3.
    """
    late = slice(-spans.indices.shape[0], None)
    everything = np.ones(components.heads.shape[-3:-1], bool)
    base = mean_ablate(components, means, replace(ablation, heads=everything, class_attn=None))
    apart = components.heads[..., late, :, :] - spans.mean
    along = jnp.einsum("blhe,lhie->iblh", apart, spans.directions, precision="highest")
    effects = jnp.einsum("lhie,se->ilhs", spans.directions, classes, precision="highest")
    gains = jnp.cumsum(jnp.einsum("iblh,ilhs->ibs", along, effects, precision="highest"), axis=0)
    # Reconstructions lie about the mean of the images that TextSpan saw, which need not be those of `means`.
    shift = (spans.mean - means.heads[..., late, :, :]).sum((0, 1))
    rebuilt = jnp.einsum("be,se->bs", base + shift, classes, precision="highest")
    return jnp.concatenate([rebuilt[None], rebuilt + gains])


def check_labels(labels: AnyArray, n: int, name: str = "labels") -> None:
    """Raises ValueError unless labels lie in 0 .. n - 1; what is traced passes."""
    values = known(labels)
    if values is not None and values.size and not 0 <= values.min() <= values.max() < n:
        raise ValueError(
            f"{name} must lie between 0 and {n - 1}; got {values.min()} to {values.max()}. "
            f"Leave out images that have none."
        )


def _chosen(components: Components, means: Components, ablation: Ablation) -> list[tuple[Any, str, Any, Any]]:
    parts = [
        (ablation.heads, "lh", components.heads, means.heads),
        (ablation.mlps, "l", components.mlp, means.mlp),
        (ablation.init, "", components.init, means.init),
    ]
    if ablation.class_attn is not None:
        if components.class_attn is None or means.class_attn is None:
            raise ValueError("class_attn was not kept: take components from detail 'full' or from Components.of_state.")
        whole = jnp.asarray(False) if ablation.heads is None else jnp.asarray(ablation.heads).all(-1)
        chosen = jnp.asarray(ablation.class_attn) & ~whole
        parts.append((chosen, "l", components.class_attn, means.class_attn))
    return [part for part in parts if part[0] is not None]


def _place(layer: int, head: int | slice) -> str:
    return f"layer {layer}" if isinstance(head, slice) else f"head {head_name(layer, head)}"
