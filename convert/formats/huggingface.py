"""Hugging Face's description of a `CLIPModel` -> the towers' configs."""

from typing import Any

from jaxclip.config import Activation, TextConfig, VisionConfig
from jaxclip.convert.families import check_model_type
from jaxclip.convert.formats.openclip import Towers, pair
from jaxclip.convert.readers.tensors import CheckpointError

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
    """Towers of a `config.json` whose model_type is "clip".

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
