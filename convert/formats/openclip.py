"""OpenCLIP's checkpoints: what their description means, and where their tensors go."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jaxclip.config import Activation, PreprocessConfig, TextConfig
from jaxclip.convert.formats.format import Claim, Format, Towers, Writer
from jaxclip.convert.formats.openclip_config import openclip_towers
from jaxclip.convert.formats.preprocess import openclip_preprocess
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.rules import PATCHES, Rule, TowerRules, dense, norm

OPENCLIP_CONFIG = "open_clip_config.json"


def _described(fields: Mapping[str, Any], activation: Activation | None) -> Towers:
    if fields.get("model_cfg") is None:
        raise CheckpointError(f"{OPENCLIP_CONFIG} has no model_cfg; download it again.")
    return openclip_towers(fields["model_cfg"], activation)


def _prepared(fields: Any, size: tuple[int, int]) -> Claim[PreprocessConfig]:
    found, defaults = openclip_preprocess(fields, size)
    by_rule = f"; by OpenCLIP's format where absent: {', '.join(defaults)}" if defaults else ""
    return Claim(found, "files", f"its {OPENCLIP_CONFIG}{by_rule}")


BLOCK = (
    *norm("ln_1", "ln_1"),
    Rule("attn.in_proj_weight", "attn_in.kernel", "(qkv h c) w -> w qkv h c"),
    Rule("attn.in_proj_bias", "attn_in.bias", "(qkv h c) -> qkv h c"),
    *dense("attn.out_proj", "attn_out", "w (h c)", "h c w", "w"),
    *norm("ln_2", "ln_2"),
    *dense("mlp.c_fc", "mlp_in", "m w", "w m", "m"),
    *dense("mlp.c_proj", "mlp_out", "w m", "m w", "w"),
    Rule("ls_1.gamma", "ls_1", "w -> w"),
    Rule("ls_2.gamma", "ls_2", "w -> w"),
)
VISION = (
    Rule("visual.class_embedding", "class_embedding", "w -> w"),
    Rule("visual.positional_embedding", "positional_embedding", "t w -> t w"),
    Rule("visual.conv1.weight", "patch_embedding", PATCHES),
    *norm("visual.ln_post", "ln_post"),
    Rule("visual.proj", "projection", "w e -> w e"),
    *norm("visual.ln_pre", "ln_pre"),
)
TEXT = (
    Rule("token_embedding.weight", "token_embedding", "v w -> v w"),
    Rule("positional_embedding", "positional_embedding", "k w -> k w"),
    *norm("ln_final", "ln_final"),
    Rule("text_projection.bias", "projection.bias", "e -> e"),
)


def _text_rules(config: TextConfig, names: set[str], prefix: str = "") -> TowerRules:
    """Pick how the projection is stored: as a linear layer, or as a plain matrix the other way round."""
    linear = config.projection == "linear_bias" or f"{prefix}text_projection.weight" in names
    weight, pattern = ("text_projection.weight", "e w -> w e") if linear else ("text_projection", "w e -> w e")
    rules = (*TEXT[:-1], Rule(weight, "projection.kernel", pattern), TEXT[-1])
    return TowerRules(rules, "transformer.resblocks", BLOCK, prefix)


OPENCLIP = Format(
    name="openclip",
    words="a CLIP of OpenCLIP's",
    library="open_clip",
    anchor="visual.class_embedding",
    detects=lambda names: "visual.class_embedding" in names,
    vision=TowerRules(VISION, "visual.transformer.resblocks", BLOCK),
    text=_text_rules,
    ignored=(r"attn_mask",),
    ignored_text=(r"text\..*",),
    writer=Writer(
        name="OpenCLIP",
        file=OPENCLIP_CONFIG,
        weights=(
            "open_clip_model.safetensors",
            "open_clip_pytorch_model.safetensors",
            "open_clip_pytorch_model.bin",
        ),
        claims=lambda fields: True,
        towers=_described,
        images=lambda fields, home: fields.get("preprocess_cfg"),
        preprocess=_prepared,
        resizes=True,
        brings_tokenizer=False,
    ),
    scripted=False,
)
OPENCLIP_CUSTOM_TEXT = replace(
    OPENCLIP,
    name="openclip_custom_text",
    words="a CLIP of OpenCLIP's, its text tower apart",
    detects=lambda names: OPENCLIP.detects(names) and any(name.startswith("text.") for name in names),
    text=lambda config, names: _text_rules(config, names, "text."),
    ignored=(r"text\.attn_mask", r"text\.transformer\.embeddings\.position_ids"),
    scripted=True,
)
