"""The parameter tree: which arrays a checkpoint holds, on which axes, and how trees and dotted paths turn into each
other.

This table is the contract between the converter, the saved folder and both towers. Blocks are stacked on `l`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxclip.config import ClipConfig, TextConfig, VisionConfig

BLOCK_AXES = {
    "ln_1.scale": "l w",
    "ln_1.bias": "l w",
    "attn_in.kernel": "l w qkv h c",
    "attn_in.bias": "l qkv h c",
    "attn_out.kernel": "l h c w",
    "attn_out.bias": "l w",
    "ln_2.scale": "l w",
    "ln_2.bias": "l w",
    "mlp_in.kernel": "l w m",
    "mlp_in.bias": "l m",
    "mlp_out.kernel": "l m w",
    "mlp_out.bias": "l w",
}
LAYER_SCALE_AXES = {"ls_1": "l w", "ls_2": "l w"}
VISION_AXES = {
    "class_embedding": "w",
    "positional_embedding": "t w",
    "patch_embedding": "p w",
    "ln_post.scale": "w",
    "ln_post.bias": "w",
    "projection": "w e",
}
LN_PRE_AXES = {"ln_pre.scale": "w", "ln_pre.bias": "w"}
TEXT_AXES = {
    "token_embedding": "v w",
    "positional_embedding": "k w",
    "ln_final.scale": "w",
    "ln_final.bias": "w",
}


def vision_sizes(config: VisionConfig) -> dict[str, int]:
    """Size of every axis letter of the image tower; `p` is split into `ph pw rgb`."""
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
    """Size of every axis letter of the text tower; `k` is the context, `v` the vocabulary."""
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


def vision_axes(config: VisionConfig) -> dict[str, str]:
    """Dotted path -> axis letters, for the image tower alone."""
    return {**VISION_AXES, **(LN_PRE_AXES if config.ln_pre else {}), **_blocks(config.layer_scale)}


def text_axes(config: TextConfig) -> dict[str, str]:
    """Dotted path -> axis letters, for the text tower alone."""
    projection = {"linear": ("kernel",), "linear_bias": ("kernel", "bias"), "none": ()}[config.projection]
    heads = {"kernel": "w e", "bias": "e"}
    return {**TEXT_AXES, **{f"projection.{name}": heads[name] for name in projection}, **_blocks(config.layer_scale)}


def _blocks(layer_scale: bool) -> dict[str, str]:
    return {
        f"blocks.{path}": axes for path, axes in {**BLOCK_AXES, **(LAYER_SCALE_AXES if layer_scale else {})}.items()
    }


def shapes(config: ClipConfig, *, logit_bias: bool = False) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by dotted path, allocating nothing.

    Args:
      config: the checkpoint.
      logit_bias: whether it has one; the only array that the config does not decide.
    """
    towers = [("vision", vision_axes(config.vision), vision_sizes(config.vision))]
    if config.text is not None:
        towers.append(("text", text_axes(config.text), text_sizes(config.text)))
    found = {
        f"{tower}.{path}": tuple(sizes[letter] for letter in axes.split())
        for tower, table, sizes in towers
        for path, axes in table.items()
    }
    return {**found, "logit_scale": (), **({"logit_bias": ()} if logit_bias else {})}


def check_shapes(config: ClipConfig, found: Mapping[str, tuple[int, ...] | None]) -> None:
    """Compare what there is, None for what is no array, with what a config's parameters are.

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
    """Leaves of a nested dict with their dotted paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Inverse of `flatten`: `dict(flatten(unflatten(x))) == x`."""
    tree: dict[str, Any] = {}
    for path, value in leaves.items():
        *parents, name = path.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree
