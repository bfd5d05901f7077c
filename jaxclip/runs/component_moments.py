"""Moments of every component of a model at once, over all images or separately for every value of a label."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxclip.axes import AnyArray
from jaxclip.config import VisionConfig
from jaxclip.model.head_coordinates import HeadState, unit_size
from jaxclip.numerics.arrays import by_shapes
from jaxclip.numerics.moments import Moments
from jaxclip.numerics.own_terms import on_own_terms


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Collected:
    """Moments of all components, each of them a stack; a pytree.

    `heads` are in head coordinates, stacked over layers and heads; `mlp` and `class_attn` are stacked over layers.
    Separate moments for the values of a label have one more axis in front.
    """

    heads: Moments
    mlp: Moments
    init: Moments
    class_attn: Moments
    embedding: Moments

    __repr__ = by_shapes

    @classmethod
    @on_own_terms
    def zero(cls, config: VisionConfig, *stack: int) -> "Collected":
        """Moments of no images."""
        layers, embed = (config.n_layers,), config.embed_dim
        shapes = {
            "heads": (*layers, config.n_heads, unit_size(config.head_dim)), "mlp": (*layers, embed), "init": (embed,),
            "class_attn": (*layers, embed), "embedding": (embed,),
        }  # fmt: skip
        return cls(**{name: _zeros((*stack, *shape)) for name, shape in shapes.items()})

    def add(self, state: HeadState, weights: Float[AnyArray, "batch"]) -> "Collected":
        """With one batch more; images of weight 0 leave no trace."""
        return _merged(self, _of(state, weights))

    def add_by(
        self, state: HeadState, weights: Float[AnyArray, "batch"], labels: Int[AnyArray, "batch"]
    ) -> "Collected":
        """With one batch more, every image to the moments of its own value; those without a label are in none.

        Image by image, so that a thousand classes cost no more than two.
        """

        def one(all_: Collected, item: tuple[HeadState, Array, Array]) -> tuple[Collected, None]:
            image, weight, label = item
            own = jax.tree.map(lambda x: x[label], all_)
            own = _merged(own, _of(jax.tree.map(lambda x: x[None], image), weight[None]))
            return jax.tree.map(lambda x, new: x.at[label].set(new), all_, own), None

        labels = jnp.asarray(labels)
        counted = jnp.asarray(weights) * (labels >= 0)
        return jax.lax.scan(one, self, (state, counted, jnp.maximum(labels, 0)))[0]

    @on_own_terms
    def with_matrices(self, matrices: Float[AnyArray, "layer head unit embed"]) -> "Collected":
        """Heads that know their way into the joint space."""
        return replace(self, heads=replace(self.heads, basis=jnp.asarray(matrices)))

    @on_own_terms
    def value(self, index: int) -> "Collected":
        """The moments of one value of a label."""
        return jax.tree.map(lambda x: x[index], self)


def to_arrays(moments: Mapping[str, Collected]) -> dict[str, Any]:
    """Leaves by name, for saving; inverse of `from_arrays`."""
    return {_name(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(dict(moments))}


def from_arrays(like: Callable[[], Mapping[str, Collected]], arrays: Mapping[str, Any]) -> dict[str, Collected]:
    """Moments of the same structure and shapes as `like()`, bit for bit what was saved; `like` is traced alone, so what
    is not there takes no memory.

    Raises:
      ValueError: one is missing or of another shape.
    """
    structure = []

    def leaves() -> list[Array]:
        paths, tree = jax.tree_util.tree_flatten_with_path(dict(like()))
        structure.append(([_name(path) for path, _ in paths], tree))
        return [leaf for _, leaf in paths]

    shapes = jax.eval_shape(leaves)
    ((names, tree),) = structure
    for name, expected in zip(names, shapes, strict=True):
        held = arrays[name].shape if name in arrays else "nothing"
        if held != expected.shape:
            raise ValueError(f"{name} must be of shape {expected.shape}; got {held}")
    return jax.tree.unflatten(tree, [jnp.asarray(arrays[name]) for name in names])


def _name(path: Any) -> str:
    return "/".join(str(getattr(part, "name", getattr(part, "key", getattr(part, "idx", "")))) for part in path)


def _zeros(shape: tuple[int, ...]) -> Moments:
    moments = Moments.zero(shape[-1])
    return jax.tree.map(lambda x: jnp.zeros((*shape[:-1], *x.shape)), moments)


def _of(state: HeadState, weights: Float[AnyArray, "batch"]) -> Collected:
    return Collected(**{field.name: _stacked(getattr(state, field.name), weights) for field in fields(Collected)})


def _stacked(samples: Array, weights: AnyArray) -> Moments:
    of = Moments.of
    for _ in range(samples.ndim - 2):
        of = jax.vmap(of, (0, None))
    return of(jnp.moveaxis(samples, 0, -2), jnp.asarray(weights))


def _merged(one: Collected, other: Collected) -> Collected:
    return Collected(
        **{field.name: getattr(one, field.name).merge(getattr(other, field.name)) for field in fields(Collected)}
    )
