"""The parameter tree: which arrays a checkpoint holds, on which axes, what training starts from, and how trees and
dotted paths turn into each other.

This table is the contract between the converter, the saved folder and both towers, whose modules are made from it.
Blocks are stacked on `l`; the other letters are those of `jaxclip.axes`.
"""

from collections.abc import Iterator, Mapping
from math import prod
from typing import Any, NamedTuple

from jaxclip.config import ClipConfig, TextConfig, VisionConfig


class Leaf(NamedTuple):
    """One array of a tower.

    Attributes:
      axes: letters of its axes.
      std: spread of its random numbers before training; letters stand for 1 / sqrt of the product of their sizes.
      mean: what those numbers lie about; all of them are equal to it where there is no spread.
    """

    axes: str
    std: float | str = 0.0
    mean: float = 0.0

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        """Return the size of every axis, from the sizes of all letters."""
        return tuple(sizes[letter] for letter in self.axes.split())

    def spread(self, sizes: Mapping[str, int]) -> float:
        """Return `std` as a number."""
        if not isinstance(self.std, str):
            return self.std
        return prod(int(part) if part.isdecimal() else sizes[part] for part in self.std.split()) ** -0.5


BLOCKS = {
    "ln_1.scale": Leaf("l w", mean=1),
    "ln_1.bias": Leaf("l w"),
    "attn_in.kernel": Leaf("l w qkv h c", "w"),
    "attn_in.bias": Leaf("l qkv h c"),
    "attn_out.kernel": Leaf("l h c w", "2 l w"),
    "attn_out.bias": Leaf("l w"),
    "ln_2.scale": Leaf("l w", mean=1),
    "ln_2.bias": Leaf("l w"),
    "mlp_in.kernel": Leaf("l w m", "2 w"),
    "mlp_in.bias": Leaf("l m"),
    "mlp_out.kernel": Leaf("l m w", "2 l w"),
    "mlp_out.bias": Leaf("l w"),
}
LAYER_SCALE = {"ls_1": Leaf("l w", mean=1), "ls_2": Leaf("l w", mean=1)}
VISION = {
    "class_embedding": Leaf("w", "w"),
    "positional_embedding": Leaf("t w", "w"),
    "patch_embedding": Leaf("p w", "p"),
    "ln_post.scale": Leaf("w", mean=1),
    "ln_post.bias": Leaf("w"),
    "projection": Leaf("w e", "w"),
}
LN_PRE = {"ln_pre.scale": Leaf("w", mean=1), "ln_pre.bias": Leaf("w")}
TEXT = {
    "token_embedding": Leaf("v w", 0.02),
    "positional_embedding": Leaf("k w", 0.01),
    "ln_final.scale": Leaf("w", mean=1),
    "ln_final.bias": Leaf("w"),
}
TEXT_PROJECTION = {"projection.kernel": Leaf("w e", "w")}
TEXT_PROJECTION_BIAS = {"projection.bias": Leaf("e")}


def vision_sizes(config: VisionConfig) -> dict[str, int]:
    """Return the size of every axis letter of the image tower; `p` is split into `ph pw rgb`."""
    height, width = config.patch_size
    return {
        "t": config.n_tokens,
        "ph": height,
        "pw": width,
        "rgb": 3,
        "p": height * width * 3,
        **_block_sizes(config),
    }


def text_sizes(config: TextConfig) -> dict[str, int]:
    """Return the size of every axis letter of the text tower; `k` is the context, `v` the vocabulary."""
    return {"k": config.context, "v": config.vocab_size, **_block_sizes(config)}


def _block_sizes(config: VisionConfig | TextConfig) -> dict[str, int]:
    return {
        "l": config.n_layers,
        "w": config.width,
        "h": config.n_heads,
        "c": config.head_dim,
        "m": config.mlp_dim,
        "e": config.embed_dim,
        "qkv": 3,
    }


def vision_leaves(config: VisionConfig) -> dict[str, Leaf]:
    """List every array of the image tower alone, by dotted path."""
    return {**VISION, **(LN_PRE if config.ln_pre else {}), **_block_leaves(config)}


def text_leaves(config: TextConfig) -> dict[str, Leaf]:
    """List every array of the text tower alone, by dotted path."""
    kernel = {} if config.projection == "none" else TEXT_PROJECTION
    bias = TEXT_PROJECTION_BIAS if config.projection == "linear_bias" else {}
    return {**TEXT, **kernel, **bias, **_block_leaves(config)}


def _block_leaves(config: VisionConfig | TextConfig) -> dict[str, Leaf]:
    leaves = {**BLOCKS, **(LAYER_SCALE if config.layer_scale else {})}
    return {f"blocks.{path}": leaf for path, leaf in leaves.items()}


def shapes(config: ClipConfig, *, logit_bias: bool = False) -> dict[str, tuple[int, ...]]:
    """Return the shape of every parameter by dotted path, allocating nothing.

    Args:
      config: the checkpoint.
      logit_bias: whether it has one; the only array that the config does not decide.
    """
    towers = [("vision", vision_leaves(config.vision), vision_sizes(config.vision))]
    if config.text is not None:
        towers.append(("text", text_leaves(config.text), text_sizes(config.text)))
    found = {f"{tower}.{path}": leaf.shape(sizes) for tower, leaves, sizes in towers for path, leaf in leaves.items()}
    return {**found, "logit_scale": (), **({"logit_bias": ()} if logit_bias else {})}


def check_shapes(config: ClipConfig, found: Mapping[str, tuple[int, ...] | None]) -> None:
    """Compare the shapes that were found (None: no array) with those of a config's parameters.

    Raises:
      ValueError: one error that lists every parameter that is missing, not expected or of another shape.
    """
    wanted = shapes(config, logit_bias="logit_bias" in found)
    wrong = [f"{path} is missing" for path in wanted if path not in found]
    wrong += [f"{path} is not expected" for path in found if path not in wanted]
    wrong += [
        f"{path} is {'no array' if (held := found[path]) is None else list(held)}, expected {list(shape)}"
        for path, shape in wanted.items()
        if found.get(path, shape) != shape
    ]
    if wrong:
        raise ValueError(f"the parameters are not those of {config.name}: {'; '.join(wrong)}.")


def flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of a nested dict with their dotted paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Nest leaves by their dotted paths, the inverse of `flatten`: `dict(flatten(unflatten(x))) == x`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree
