"""Which tensor of which layout becomes which parameter, as tables.

A rule is (source name, target path, pattern). Names may hold `{layer}`. The pattern's left side is the source's axes,
its right side the parameter's axes in the letters of `jaxclip.model.params` without the layer axis, so every rule can
be run both ways and its shapes are known before any tensor is read.
"""

import re
from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
from einops import rearrange

from jaxclip.config import ClipConfig
from jaxclip.model.params import text_sizes, vision_sizes

Layout = Literal["openclip", "openclip_custom_text", "openai", "huggingface"]


@dataclass(frozen=True)
class Rule:
    """`part` is where in the parameter the tensor lands when it is only a part of it, as an index after the layer."""

    source: str
    target: str
    pattern: str
    part: tuple[int | slice, ...] = ()


@dataclass(frozen=True)
class Move:
    """A rule for one layer: the tensor `source`, of shape `shape`, fills `target[index]`."""

    source: str
    target: str
    index: tuple[int | slice, ...]
    pattern: str
    shape: tuple[int, ...]
    sizes: dict[str, int]


def _norm(source: str, target: str) -> tuple[Rule, ...]:
    return Rule(f"{source}.weight", f"{target}.scale", "w -> w"), Rule(f"{source}.bias", f"{target}.bias", "w -> w")


def _dense(source: str, target: str, out_in: str, kernel: str, bias: str) -> tuple[Rule, ...]:
    return (
        Rule(f"{source}.weight", f"{target}.kernel", f"{out_in} -> {kernel}"),
        Rule(f"{source}.bias", f"{target}.bias", f"{bias} -> {bias}"),
    )


OPENCLIP_BLOCK = (
    *_norm("ln_1", "ln_1"),
    Rule("attn.in_proj_weight", "attn_in.kernel", "(qkv h c) w -> w qkv h c"),
    Rule("attn.in_proj_bias", "attn_in.bias", "(qkv h c) -> qkv h c"),
    *_dense("attn.out_proj", "attn_out", "w (h c)", "h c w", "w"),
    *_norm("ln_2", "ln_2"),
    *_dense("mlp.c_fc", "mlp_in", "m w", "w m", "m"),
    *_dense("mlp.c_proj", "mlp_out", "w m", "m w", "w"),
)
LAYER_SCALE_BLOCK = (Rule("ls_1.gamma", "ls_1", "w -> w"), Rule("ls_2.gamma", "ls_2", "w -> w"))
HF_BLOCK = (
    *_norm("layer_norm1", "ln_1"),
    *(
        rule
        for slot, name in enumerate("qkv")
        for rule in (
            Rule(f"self_attn.{name}_proj.weight", "attn_in.kernel", "(h c) w -> w h c", (slice(None), slot)),
            Rule(f"self_attn.{name}_proj.bias", "attn_in.bias", "(h c) -> h c", (slot,)),
        )
    ),
    *_dense("self_attn.out_proj", "attn_out", "w (h c)", "h c w", "w"),
    *_norm("layer_norm2", "ln_2"),
    *_dense("mlp.fc1", "mlp_in", "m w", "w m", "m"),
    *_dense("mlp.fc2", "mlp_out", "w m", "m w", "w"),
)
PATCHES = "w rgb ph pw -> (ph pw rgb) w"
OPENCLIP_VISION = (
    Rule("visual.class_embedding", "class_embedding", "w -> w"),
    Rule("visual.positional_embedding", "positional_embedding", "t w -> t w"),
    Rule("visual.conv1.weight", "patch_embedding", PATCHES),
    *_norm("visual.ln_post", "ln_post"),
    Rule("visual.proj", "projection", "w e -> w e"),
)
OPENCLIP_LN_PRE = _norm("visual.ln_pre", "ln_pre")
HF_VISION = (
    Rule("vision_model.embeddings.class_embedding", "class_embedding", "w -> w"),
    Rule("vision_model.embeddings.position_embedding.weight", "positional_embedding", "t w -> t w"),
    Rule("vision_model.embeddings.patch_embedding.weight", "patch_embedding", PATCHES),
    *_norm("vision_model.pre_layrnorm", "ln_pre"),
    *_norm("vision_model.post_layernorm", "ln_post"),
    Rule("visual_projection.weight", "projection", "e w -> w e"),
)
OPENCLIP_TEXT = (
    Rule("token_embedding.weight", "token_embedding", "v w -> v w"),
    Rule("positional_embedding", "positional_embedding", "k w -> k w"),
    *_norm("ln_final", "ln_final"),
)
PARAMETER_PROJECTION = (Rule("text_projection", "projection.kernel", "w e -> w e"),)
LINEAR_PROJECTION = (Rule("text_projection.weight", "projection.kernel", "e w -> w e"),)
PROJECTION_BIAS = (Rule("text_projection.bias", "projection.bias", "e -> e"),)
HF_TEXT = (
    Rule("text_model.embeddings.token_embedding.weight", "token_embedding", "v w -> v w"),
    Rule("text_model.embeddings.position_embedding.weight", "positional_embedding", "k w -> k w"),
    *_norm("text_model.final_layer_norm", "ln_final"),
    *LINEAR_PROJECTION,
)
SCALE = (Rule("logit_scale", "logit_scale", "->"),)
BIAS = (Rule("logit_bias", "logit_bias", "->"),)

IGNORED = {
    "huggingface": (r"(text|vision)_model\.embeddings\.position_ids",),
    "openai": (
        "input_resolution",
        "context_length",
        "vocab_size",
        r"(visual\.)?transformer\.resblocks\.\d+\.attn_mask",
    ),
    "openclip": (r"attn_mask",),
    "openclip_custom_text": (r"text\.attn_mask", r"text\.transformer\.embeddings\.position_ids"),
}
"""Tensors that hold no weight: sizes, masks and counters that the architecture already says."""

FOREIGN_TEXT = r"text\..*"
"""Weights of a text tower that is not one of ours; only skipped where the config says so."""


ANCHORS = ("visual.class_embedding", "vision_model.embeddings.class_embedding")
"""The tensor that every image tower has, as OpenCLIP and OpenAI call it and as Hugging Face does."""


def detect_layout(names: set[str]) -> Layout | None:
    """The layout that a set of tensor names is written in, or None."""
    openclip, huggingface = ANCHORS
    if huggingface in names:
        return "huggingface"
    if openclip not in names:
        return None
    if {"input_resolution", "context_length", "vocab_size"} <= names:
        return "openai"
    return "openclip_custom_text" if any(name.startswith("text.") for name in names) else "openclip"


def moves(config: ClipConfig, layout: Layout, names: set[str]) -> list[Move]:
    """Every move that a checkpoint of this config takes, its layers written out.

    Args:
      config: decides which weights there must be.
      layout: decides what they are called.
      names: the checkpoint's own names; read only where a layout allows two ways to store the same weight.
    """
    huggingface = layout == "huggingface"
    sizes = vision_sizes(config.vision)
    stem = HF_VISION if huggingface else OPENCLIP_VISION + (OPENCLIP_LN_PRE if config.vision.ln_pre else ())
    found = [_move(rule, "", "vision.", sizes) for rule in stem]
    blocks = "vision_model.encoder.layers" if huggingface else "visual.transformer.resblocks"
    found += _block_moves(layout, blocks, "vision.", sizes, config.vision.layer_scale)
    if config.text is not None:
        found += _text_moves(config, layout, names)
    return found + [_move(rule, "", "", {}) for rule in SCALE + (BIAS if "logit_bias" in names else ())]


def _text_moves(config: ClipConfig, layout: Layout, names: set[str]) -> list[Move]:
    text = config.text
    assert text is not None
    sizes = text_sizes(text)
    if layout == "huggingface":
        stem = [_move(rule, "", "text.", sizes) for rule in HF_TEXT]
        return stem + _block_moves(layout, "text_model.encoder.layers", "text.", sizes, False)
    prefix = "text." if layout == "openclip_custom_text" else ""
    rules = OPENCLIP_TEXT
    if text.projection != "none":
        linear = text.projection == "linear_bias" or f"{prefix}text_projection.weight" in names
        rules += LINEAR_PROJECTION if linear else PARAMETER_PROJECTION
        rules += PROJECTION_BIAS if text.projection == "linear_bias" else ()
    stem = [_move(rule, prefix, "text.", sizes) for rule in rules]
    return stem + _block_moves(layout, f"{prefix}transformer.resblocks", "text.", sizes, text.layer_scale)


def _block_moves(layout: Layout, blocks: str, tower: str, sizes: dict[str, int], layer_scale: bool) -> list[Move]:
    rules = HF_BLOCK if layout == "huggingface" else OPENCLIP_BLOCK + (LAYER_SCALE_BLOCK if layer_scale else ())
    return [
        _move(rule, f"{blocks}.{layer}.", f"{tower}blocks.", sizes, layer)
        for layer in range(sizes["l"])
        for rule in rules
    ]


def _move(rule: Rule, prefix: str, tower: str, sizes: dict[str, int], layer: int | None = None) -> Move:
    left = rule.pattern.split("->")[0]
    used = {letter: sizes[letter] for letter in re.findall(r"\w+", rule.pattern)}
    return Move(
        source=prefix + rule.source,
        target=tower + rule.target,
        index=rule.part if layer is None else (layer, *rule.part),
        pattern=rule.pattern,
        shape=side_shape(left, sizes),
        sizes=used,
    )


def forward(move: Move, array: np.ndarray) -> np.ndarray:
    """A source tensor as the part of the parameter that it fills."""
    old, new = move.pattern.split("->")
    return _rearrange(array.reshape(move.shape), old, new, move.sizes)


def backward(move: Move, part: np.ndarray) -> np.ndarray:
    """Inverse of `forward`: `backward(move, forward(move, x)) == x`."""
    old, new = move.pattern.split("->")
    return _rearrange(part, new, old, move.sizes)


def _rearrange(array: np.ndarray, old: str, new: str, sizes: dict[str, int]) -> np.ndarray:
    named = set(re.findall(r"\w+", old))
    return rearrange(array, f"{old} -> {new}", **{letter: size for letter, size in sizes.items() if letter in named})


def side_shape(side: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """Shape of one side of a pattern: `(qkv h c) w` is `(3 * heads * head_dim, width)`."""
    groups = re.findall(r"\(([^)]*)\)|(\w+)", side)
    return tuple(prod(sizes[letter] for letter in (group or single).split()) for group, single in groups)
