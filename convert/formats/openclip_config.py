"""OpenCLIP's `model_cfg` -> the towers' configs. What cannot be honoured is refused by name."""

from collections.abc import Mapping
from typing import Any

from jaxclip.config import Activation, TextConfig, VisionConfig
from jaxclip.convert.families import family_of, refusal
from jaxclip.convert.formats.format import Towers, pair
from jaxclip.convert.readers.tensors import CheckpointError

COUNTS = {"embed_dim", "width", "head_width", "heads", "context_length", "vocab_size"}
MODEL_KEYS = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}
MODEL_IGNORED = {"custom_text", "init_logit_scale", "init_logit_bias", "nonscalar_logit_scale", "output_dict"}
VISION_KEYS = {
    "image_size", "patch_size", "layers", "width", "head_width", "mlp_ratio", "ls_init_value", "no_ln_pre",
    "pool_type", "final_ln_after_pool", "pos_embed_type", "act_kwargs", "norm_kwargs",
}  # fmt: skip
TEXT_KEYS = {
    "context_length", "vocab_size", "width", "layers", "heads", "mlp_ratio", "ls_init_value", "no_causal_mask",
    "pad_id", "eos_id", "pool_type", "proj_type", "proj_bias", "act_kwargs", "norm_kwargs",
    "hf_tokenizer_name", "tokenizer_kwargs", "tokenizer_mode", "tokenizer_type", "tiktoken_name",
}  # fmt: skip
# What these say has no effect on the weights or on the embedding of a trained model.
VISION_IGNORED = {
    "patch_dropout", "output_tokens", "attn_pooler_queries", "attn_pooler_heads", "image_seq_len", "timm_pool",
    "timm_proj", "timm_proj_bias", "timm_drop", "timm_drop_path", "timm_model_pretrained", "timm_model_kwargs",
}  # fmt: skip
TEXT_IGNORED = {"output_tokens", "final_ln_after_pool", "bos_id", "variable_text"}
BLOCK_REFUSED = {
    "qk_norm": "normalised queries and keys are not part of this decomposition's attention",
    "scaled_cosine_attn": "cosine attention is not implemented",
    "scale_heads": "learned head scales are not implemented",
    "scale_attn_inner": "a LayerNorm between heads and output projection mixes the heads nonlinearly",
    "scale_attn": "a LayerNorm after attention mixes the heads nonlinearly",
    "scale_fc": "a LayerNorm inside the MLP is not implemented",
}
VISION_REFUSED = {
    **BLOCK_REFUSED,
    "attentional_pool": "an attention pooler (CoCa) is nonlinear in the tokens, so the embedding is no sum over them",
    "input_patchnorm": "normalised input patches are not implemented",
}
TEXT_REFUSED = {**BLOCK_REFUSED, "embed_cls": "a learned text class token (CoCa) is not implemented"}
FOREIGN_TEXT = ("hf_model_name", "text_arch")
TEXT_POOLS = ("argmax", "eos", "last", "first")


class _Options:
    """A JSON object of a config, looked up with the format's defaults; `defaults` lists those that it supplied."""

    def __init__(self, owner: str, fields: Any, known: set[str], defaults: list[str]) -> None:
        if not isinstance(fields, Mapping):
            raise CheckpointError(f"{owner} must be a JSON object; got {fields!r}.")
        unknown = sorted(set(fields) - known)
        if unknown:
            raise CheckpointError(
                f"{owner} has options that this version does not know: "
                f"{', '.join(f'{key}={fields[key]!r}' for key in unknown)}. Remove them if they change nothing."
            )
        for key in COUNTS & set(fields):
            if fields[key] is not None and type(fields[key]) is not int:
                raise CheckpointError(f"{owner}.{key} must be an integer; got {fields[key]!r}.")
        self.owner, self.fields, self.defaults = owner, fields, defaults

    def get(self, key: str, default: Any) -> Any:
        if self.fields.get(key) is None:
            self.defaults.append(f"{self.owner}.{key}={default!r}")
            return default
        value = self.fields[key]
        if type(default) is float and type(value) not in (int, float):
            raise CheckpointError(f"{self.owner}.{key} must be a number; got {value!r}.")
        return value

    def need(self, key: str) -> Any:
        if self.fields.get(key) is None:
            raise CheckpointError(f"{self.owner} lacks {key!r}, which nothing else says.")
        return self.fields[key]

    def refuse(self, reasons: Mapping[str, str]) -> None:
        for key, reason in reasons.items():
            if self.fields.get(key):
                raise CheckpointError(f"{self.owner}.{key}={self.fields[key]!r} is not supported: {reason}.")
        if self.fields.get("block_type") not in (None, "default"):
            raise CheckpointError(
                f"{self.owner}.block_type={self.fields['block_type']!r} is not supported: only the default block is."
            )


def openclip_towers(model_cfg: Any, activation: Activation | None = None) -> Towers:
    """Read the towers of an OpenCLIP `model_cfg`.

    Args:
      model_cfg: the JSON object; options that are absent take the values that OpenCLIP's format gives them.
      activation: what a pretrained tag says. None takes it from the config, whose `quick_gelu` is off when absent.

    Raises:
      CheckpointError: an unknown or unsupported option, by name.
    """
    try:
        return _towers(model_cfg, activation)
    except (TypeError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise CheckpointError(f"model_cfg holds a value of the wrong kind: {error}.") from error


def _towers(model_cfg: Any, activation: Activation | None) -> Towers:
    defaults: list[str] = []
    family = family_of(model_cfg) if isinstance(model_cfg, Mapping) else None
    if family not in (None, "CoCa"):
        said = (model_cfg.get("vision_cfg") or {}).get("timm_model_name")
        option = "its vision_cfg.layers are a list: it" if family == "ResNet" else "its model_cfg says that it"
        raise CheckpointError(refusal(f"vision_cfg.timm_model_name={said!r}: it" if said else option, family))
    known = MODEL_KEYS | MODEL_IGNORED | {"multimodal_cfg"}
    model = _Options("model_cfg", model_cfg, known, defaults)
    if model.fields.get("multimodal_cfg"):
        pooled = (model.fields.get("vision_cfg") or {}).get("attentional_pool")
        reason = VISION_REFUSED["attentional_pool"] if pooled else "CoCa's captioning decoder is not implemented"
        option = "vision_cfg.attentional_pool" if pooled else "model_cfg.multimodal_cfg"
        raise CheckpointError(f"{option} is not supported: {reason}.")
    base = activation or ("quick_gelu" if model.get("quick_gelu", False) else "gelu")
    embed_dim = model.need("embed_dim")
    vision = _vision(model.need("vision_cfg"), embed_dim, base, defaults)
    text_cfg = model.need("text_cfg")
    if not isinstance(text_cfg, Mapping):
        raise CheckpointError(f"text_cfg must be a JSON object; got {text_cfg!r}.")
    missing = foreign_text(text_cfg)
    text = None if missing else _text(text_cfg, embed_dim, base, defaults)
    return Towers(vision, text, missing, tuple(defaults), text_cfg)


def foreign_text(text_cfg: Mapping[str, Any]) -> str | None:
    """Say why the text tower is not one of ours; None when it is."""
    if text_cfg.get("hf_model_name"):
        return (
            f"its text tower is the Hugging Face model {text_cfg['hf_model_name']}; only the image tower was converted."
        )
    if text_cfg.get("text_arch") not in (None, "clip"):
        return f"its text tower has architecture {text_cfg['text_arch']!r}; only the image tower was converted."
    return None


def _vision(fields: Any, embed_dim: int, base: Activation, defaults: list[str]) -> VisionConfig:
    known = VISION_KEYS | VISION_IGNORED | set(VISION_REFUSED) | {"block_type", "timm_model_name"}
    cfg = _Options("vision_cfg", fields, known, defaults)
    cfg.refuse(VISION_REFUSED)
    layers = cfg.get("layers", 12)
    if type(layers) is not int:
        raise CheckpointError(
            f"vision_cfg.layers={layers!r} is no number of ViT blocks; only ViT image towers have this decomposition."
        )
    pool = cfg.get("pool_type", "tok")
    if pool not in ("tok", "avg"):
        raise CheckpointError(f"vision_cfg.pool_type={pool!r} is not supported: use 'tok' or 'avg'.")
    if pool == "avg" and not cfg.get("final_ln_after_pool", False):
        raise CheckpointError(
            "vision_cfg.pool_type='avg' needs final_ln_after_pool=true: a LayerNorm of every token before the mean "
            "has one sigma a token, and the embedding is then no sum over one image's components."
        )
    if cfg.get("pos_embed_type", "learnable") not in ("learnable", "sin_cos_2d"):
        raise CheckpointError(f"vision_cfg.pos_embed_type={cfg.fields['pos_embed_type']!r} is not known.")
    width = cfg.get("width", 768)
    return VisionConfig(
        image_size=pair(cfg.get("image_size", 224)),
        patch_size=pair(cfg.get("patch_size", 16)),
        width=width,
        n_layers=layers,
        n_heads=width // cfg.get("head_width", 64),
        mlp_dim=int(width * cfg.get("mlp_ratio", 4.0)),
        embed_dim=embed_dim,
        activation=_activation(cfg, base),
        pool="class" if pool == "tok" else "mean",
        ln_pre=not cfg.get("no_ln_pre", False),
        layer_scale=cfg.fields.get("ls_init_value") is not None,
        eps=_eps(cfg),
    )


def _text(fields: Any, embed_dim: int, base: Activation, defaults: list[str]) -> TextConfig:
    foreign = {key for key in fields if key.startswith("hf_")} | {"text_arch"}
    cfg = _Options(
        "text_cfg", fields, TEXT_KEYS | TEXT_IGNORED | set(TEXT_REFUSED) | foreign | {"block_type"}, defaults
    )
    cfg.refuse(TEXT_REFUSED)
    pool = cfg.get("pool_type", "argmax")
    if pool not in TEXT_POOLS:
        raise CheckpointError(f"text_cfg.pool_type={pool!r} is not supported: use one of {', '.join(TEXT_POOLS)}.")
    projection = cfg.get("proj_type", "linear")
    if projection not in ("linear", "none"):
        raise CheckpointError(f"text_cfg.proj_type={projection!r} is not supported: use 'linear' or 'none'.")
    width = cfg.get("width", 512)
    return TextConfig(
        context=cfg.get("context_length", 77),
        vocab_size=cfg.get("vocab_size", 49408),
        width=width,
        n_layers=cfg.get("layers", 12),
        n_heads=cfg.get("heads", 8),
        mlp_dim=int(width * cfg.get("mlp_ratio", 4.0)),
        embed_dim=embed_dim,
        activation=_activation(cfg, base),
        causal=not cfg.get("no_causal_mask", False),
        pool=pool,
        pad_id=cfg.get("pad_id", 0),
        eos_id=cfg.need("eos_id") if pool == "eos" else cfg.fields.get("eos_id"),
        layer_scale=cfg.fields.get("ls_init_value") is not None,
        projection="linear_bias" if projection == "linear" and cfg.get("proj_bias", False) else projection,
        eps=_eps(cfg),
    )


def _activation(cfg: _Options, base: Activation) -> Activation:
    options = cfg.fields.get("act_kwargs") or {}
    if not options or (options == {"approximate": "none"} and base == "gelu"):
        return base
    if options == {"approximate": "tanh"} and base in ("gelu", "gelu_tanh"):
        return "gelu_tanh"
    raise CheckpointError(f"{cfg.owner}.act_kwargs={options!r} is not supported with {base}.")


def _eps(cfg: _Options) -> float:
    options = cfg.fields.get("norm_kwargs") or {}
    if set(options) - {"eps"}:
        raise CheckpointError(f"{cfg.owner}.norm_kwargs={options!r} is not supported: only eps is.")
    return float(options.get("eps", 1e-5))
