"""Hugging Face's `CLIPModel`: what its files beside the weights mean, and where its tensors go."""

import re
from typing import Any

from jaxclip.config import Activation, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.convert.families import check_model_type, tower_alone
from jaxclip.convert.formats.format import Claim, Format, Towers, Writer, pair
from jaxclip.convert.formats.preprocess import HF_KEYS, huggingface_preprocess
from jaxclip.convert.readers.places import Files, read_json
from jaxclip.convert.readers.tensors import CheckpointError
from jaxclip.convert.rules import PATCHES, Rule, TowerRules, dense, norm

HF_CONFIG, HF_ADAPTER = "config.json", "adapter_config.json"
HF_PREPROCESSOR, HF_PROCESSOR = "preprocessor_config.json", "processor_config.json"  # on its own, or within the other

ACTIVATIONS: dict[str, Activation] = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
}
# What a file means where a key is absent: it only stores what differs from these.
SHARED = {"num_hidden_layers": 12, "hidden_act": "quick_gelu", "layer_norm_eps": 1e-5}
VISION = {
    **SHARED, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_channels": 3,
    "image_size": 224, "patch_size": 32,
}  # fmt: skip
TEXT = {
    **SHARED, "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408,
    "max_position_embeddings": 77, "eos_token_id": 49407,
}  # fmt: skip
ARGMAX_EOS = 2  # files written before the end-of-text id was corrected; they pool at the highest id


def huggingface_towers(fields: Any) -> Towers:
    """Read the towers of a `config.json` whose model_type is "clip".

    Raises:
      CheckpointError: another model type, or an option that is not supported, by name.
    """
    if not isinstance(fields, dict):
        raise CheckpointError(f"config.json must be a JSON object; got {fields!r:.80}.")
    check_model_type(fields)
    try:
        return _towers(fields)
    except (TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"config.json holds a value of the wrong kind: {error}.") from error


def _towers(fields: dict[str, Any]) -> Towers:
    defaults: list[str] = []
    embed_dim = _value(fields, "projection_dim", 512, "config.json", defaults)
    vision, text = _part(fields, "vision_config", VISION, defaults), _part(fields, "text_config", TEXT, defaults)
    if vision["num_channels"] != 3:
        raise CheckpointError(f"config.json has num_channels={vision['num_channels']}; only RGB towers are supported.")
    eos = text["eos_token_id"]
    return Towers(
        VisionConfig(
            image_size=pair(vision["image_size"]),
            patch_size=pair(vision["patch_size"]),
            **_tower(vision, embed_dim),
        ),
        TextConfig(
            context=text["max_position_embeddings"],
            vocab_size=text["vocab_size"],
            pool="argmax" if eos == ARGMAX_EOS else "eos",
            eos_id=None if eos == ARGMAX_EOS else eos,
            **_tower(text, embed_dim),
        ),
        None,
        tuple(defaults),
    )


def _tower(fields: dict[str, Any], embed_dim: int) -> dict[str, Any]:
    if fields["hidden_act"] not in ACTIVATIONS:
        raise CheckpointError(
            f"config.json has hidden_act={fields['hidden_act']!r}; known are {', '.join(ACTIVATIONS)}."
        )
    return {
        "width": fields["hidden_size"],
        "n_layers": fields["num_hidden_layers"],
        "n_heads": fields["num_attention_heads"],
        "mlp_dim": fields["intermediate_size"],
        "embed_dim": embed_dim,
        "activation": ACTIVATIONS[fields["hidden_act"]],
        "eps": float(fields["layer_norm_eps"]),
    }


def _part(fields: dict[str, Any], name: str, known: dict[str, Any], defaults: list[str]) -> dict[str, Any]:
    older = fields.get(f"{name}_dict")  # where there is one, all of it counts, with its own defaults
    stored = (fields.get(name) or {}) if older is None else older
    return {key: _value(stored, key, value, name, defaults) for key, value in known.items()}


def _value(fields: dict[str, Any], key: str, default: Any, owner: str, defaults: list[str]) -> Any:
    if fields.get(key) is None:
        defaults.append(f"{owner}.{key}={default!r}")
        return default
    if type(default) is int and type(fields[key]) is not int:
        raise CheckpointError(f"{owner}.{key} must be an integer; got {fields[key]!r}.")
    return fields[key]


def _check_no_adapter(home: Files) -> None:
    """Refuse a folder whose weights are not all of its model.

    Raises:
      CheckpointError: there is an adapter, with how to merge it.
    """
    if home.find(HF_ADAPTER) is not None:
        raise CheckpointError(
            f"{home.name} holds an adapter of peft ({HF_ADAPTER}), without which its CLIP is another model; merge it: "
            f"PeftModel.from_pretrained(CLIPModel.from_pretrained(BASE), {home.name!r}).merge_and_unload()"
            f".save_pretrained(FOLDER). For a CLIP without it name the weight file."
        )


def _find_preprocessor(home: Files) -> dict[str, Any] | None:
    """Find Hugging Face's description of the preprocessing, in a file of its own or within the processor's.

    Raises:
      CheckpointError: both are there and say different things.
    """
    alone, whole = home.find(HF_PREPROCESSOR), home.find(HF_PROCESSOR)
    said = read_json(alone) if alone else None
    within = read_json(whole).get("image_processor") if whole else None
    if not isinstance(within, dict):
        return said
    differing = [
        key for key in within if said is not None and key in said and key in HF_KEYS and said[key] != within[key]
    ]
    if differing:
        raise CheckpointError(
            f"{HF_PREPROCESSOR} and {HF_PROCESSOR} disagree on {', '.join(differing)}; remove the one that is wrong."
        )
    return within


def _prepared(fields: Any, size: tuple[int, int]) -> Claim[PreprocessConfig] | None:
    if fields is None:
        return None
    found = huggingface_preprocess(fields, size)
    return Claim(found, "files", f"its {HF_PREPROCESSOR}, as transformers reads it")


def _check_both_towers(names: set[str], label: str) -> None:
    if not any(name.startswith("text_model.") for name in names):
        parts = ("vision_model", "visual_projection")
        held = tuple(part for part in parts if any(name.startswith(part) for name in names))
        raise CheckpointError(tower_alone(f"{label} holds", held))


BLOCK = (
    *norm("layer_norm1", "ln_1"),
    *(
        rule
        for slot, name in enumerate("qkv")
        for rule in (
            Rule(f"self_attn.{name}_proj.weight", "attn_in.kernel", "(h c) w -> w h c", (slice(None), slot)),
            Rule(f"self_attn.{name}_proj.bias", "attn_in.bias", "(h c) -> h c", (slot,)),
        )
    ),
    *dense("self_attn.out_proj", "attn_out", "w (h c)", "h c w", "w"),
    *norm("layer_norm2", "ln_2"),
    *dense("mlp.fc1", "mlp_in", "m w", "w m", "m"),
    *dense("mlp.fc2", "mlp_out", "w m", "m w", "w"),
)
ANCHOR = "vision_model.embeddings.class_embedding"
VISION_RULES = TowerRules(
    (
        Rule(ANCHOR, "class_embedding", "w -> w"),
        Rule("vision_model.embeddings.position_embedding.weight", "positional_embedding", "t w -> t w"),
        Rule("vision_model.embeddings.patch_embedding.weight", "patch_embedding", PATCHES),
        *norm("vision_model.pre_layrnorm", "ln_pre"),
        *norm("vision_model.post_layernorm", "ln_post"),
        Rule("visual_projection.weight", "projection", "e w -> w e"),
    ),
    "vision_model.encoder.layers",
    BLOCK,
)
TEXT_RULES = TowerRules(
    (
        Rule("text_model.embeddings.token_embedding.weight", "token_embedding", "v w -> v w"),
        Rule("text_model.embeddings.position_embedding.weight", "positional_embedding", "k w -> k w"),
        *norm("text_model.final_layer_norm", "ln_final"),
        Rule("text_projection.weight", "projection.kernel", "e w -> w e"),
    ),
    "text_model.encoder.layers",
    BLOCK,
)

HUGGINGFACE = Format(
    name="huggingface",
    words="a CLIPModel of transformers'",
    library="transformers",
    anchor=ANCHOR,
    detects=lambda names: ANCHOR in names,
    check=_check_both_towers,
    vision=VISION_RULES,
    text=lambda config, names: TEXT_RULES,
    ignored=(r"(text|vision)_model\.embeddings\.position_ids",),
    ignored_text=(r"text\..*",),
    writer=Writer(
        name="Hugging Face",
        file=HF_CONFIG,
        weights=(
            "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json",
        ),
        variant=re.compile(r"(pytorch_)?model\.\w+\.(safetensors|bin)"),
        claims=lambda fields: fields.get("model_type") is not None,
        towers=lambda fields, _activation: huggingface_towers(fields),
        images=lambda fields, home: None if home is None else _find_preprocessor(home),
        preprocess=_prepared,
        check_home=_check_no_adapter,
        resizes=False,
        brings_tokenizer=True,
    ),
    clip_options={"clean": "transformers"},
    own_options={"clean": "none"},
)  # fmt: skip
