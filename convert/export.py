"""Parameters -> an OpenCLIP checkpoint folder, by the same rules run backwards."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.config import Activation, ClipConfig, TextConfig, VisionConfig
from jaxclip.convert.formats.openclip import OPENCLIP, OPENCLIP_CONFIG
from jaxclip.convert.readers.places import Folder
from jaxclip.convert.readers.safetensors import write_safetensors
from jaxclip.convert.readers.tensors import CheckpointError, as_dtype
from jaxclip.convert.rules import backward
from jaxclip.files.plain import read_bytes
from jaxclip.files.tokenizer_files import TOKENIZER_FILES
from jaxclip.files.whole import write_whole
from jaxclip.model.params import flatten


def state_dict(params: Mapping[str, Any], config: ClipConfig) -> dict[str, np.ndarray]:
    """Turn a parameter tree into OpenCLIP's tensors, under OpenCLIP's names.

    Reading them back gives the same tree: `fill(state_dict(params)) == params`.

    Raises:
      CheckpointError: the config's text tower is not one that OpenCLIP's plain layout can hold.
    """
    if config.text is None:
        raise CheckpointError(f"{config.name} has no text tower; an OpenCLIP checkpoint needs both.")
    leaves = dict(flatten(params))
    return {
        move.source: np.ascontiguousarray(backward(move, np.asarray(leaves[move.target][move.index])))
        for move in OPENCLIP.moves(config, set(leaves))
    }


def export_openclip(
    params: Mapping[str, Any],
    config: ClipConfig,
    out_dir: str | Path,
    dtype: str = "float32",
    tokenizer_dir: str | Path | None = None,
) -> Path:
    """Write a folder that open_clip loads as `local-dir:` and that `read` reads back.

    Args:
      params: nested tree of arrays.
      config: what they are.
      out_dir: made if needed; its OpenCLIP files are replaced.
      dtype: of the file: float32, float16 or bfloat16.
      tokenizer_dir: a Hugging Face tokenizer's folder; its files are copied, and the config names it.

    Raises:
      CheckpointError: OpenCLIP's format cannot say what the config says, by name; or a file of the tokenizer is a link
        out of its folder.
    """
    if config.preprocess.library != "open_clip":
        warnings.warn(
            f"pictures and texts of {config.name} are prepared as {config.preprocess.library} does, which OpenCLIP's "
            f"format cannot say: what loads {out_dir} prepares them as OpenCLIP does.",
            stacklevel=2,
        )
    out = Path(out_dir)
    copied = _tokenizer_files(Path(tokenizer_dir), out) if tokenizer_dir is not None else []
    out.mkdir(parents=True, exist_ok=True)
    tensors = {name: _cast(name, array, dtype) for name, array in state_dict(params, config).items()}
    write_safetensors(out / "open_clip_model.safetensors", tensors)
    fields = openclip_config(config)
    if "logit_bias" in params:
        fields["model_cfg"]["init_logit_bias"] = float(params["logit_bias"])
    if tokenizer_dir is not None:
        fields["model_cfg"]["text_cfg"]["hf_tokenizer_name"] = "."
        for path in copied:
            write_whole(out / path.name, read_bytes(path))
    write_whole(out / OPENCLIP_CONFIG, json.dumps(fields, indent=2) + "\n")
    return out


def _tokenizer_files(folder: Path, out: Path) -> list[Path]:
    """Find the files of a tokenizer that are to be copied to `out`; none if that is their own folder."""
    found = (Folder(folder).find(name) for name in sorted(TOKENIZER_FILES))
    return [path for path in found if path is not None and folder.resolve() != out.resolve()]


def _cast(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        cast = array.astype(as_dtype(dtype))
    if not np.isfinite(cast).all():
        raise CheckpointError(f"{name} has values that {dtype} cannot hold; pass dtype='float32'.")
    return cast


def openclip_config(config: ClipConfig) -> dict[str, Any]:
    """Write a config as OpenCLIP's `open_clip_config.json` says it.

    Raises:
      CheckpointError: OpenCLIP's format has no word for what the config says.
    """
    vision, text = config.vision, config.text
    if text is None:
        raise CheckpointError(f"{config.name} has no text tower; an OpenCLIP checkpoint needs both.")
    quick = "quick_gelu" in (vision.activation, text.activation)
    if quick and vision.activation != text.activation:
        raise CheckpointError(
            f"OpenCLIP has one quick_gelu for both towers; got {vision.activation}, {text.activation}."
        )
    if text.pad_mask:
        raise CheckpointError("OpenCLIP's format cannot say pad_mask=True.")
    image = config.preprocess
    return {
        "model_cfg": {
            "embed_dim": vision.embed_dim,
            "quick_gelu": quick,
            "vision_cfg": _vision(vision),
            "text_cfg": _text(text),
        },
        "preprocess_cfg": {
            "size": list(image.size),
            "mode": "RGB",
            "mean": list(image.mean),
            "std": list(image.std),
            "interpolation": image.interpolation,
            "resize_mode": image.resize_mode,
            "fill_color": image.fill,
        },
    }


def _vision(config: VisionConfig) -> dict[str, Any]:
    mean = config.pool == "mean"
    return {
        "image_size": list(config.image_size) if len(set(config.image_size)) > 1 else config.image_size[0],
        "patch_size": list(config.patch_size) if len(set(config.patch_size)) > 1 else config.patch_size[0],
        "layers": config.n_layers,
        "width": config.width,
        "head_width": config.head_dim,
        "mlp_ratio": _ratio(config.width, config.mlp_dim),
        **({"no_ln_pre": True} if not config.ln_pre else {}),
        **({"pool_type": "avg", "final_ln_after_pool": True} if mean else {}),
        **_shared(config.layer_scale, config.activation, config.eps),
    }


def _text(config: TextConfig) -> dict[str, Any]:
    return {
        "context_length": config.context,
        "vocab_size": config.vocab_size,
        "width": config.width,
        "heads": config.n_heads,
        "layers": config.n_layers,
        "mlp_ratio": _ratio(config.width, config.mlp_dim),
        "pad_id": config.pad_id,
        "pool_type": config.pool,
        **({"eos_id": config.eos_id} if config.eos_id is not None else {}),
        **({"no_causal_mask": True} if not config.causal else {}),
        **({"proj_type": "none"} if config.projection == "none" else {}),
        **({"proj_bias": True} if config.projection == "linear_bias" else {}),
        **_shared(config.layer_scale, config.activation, config.eps),
    }


def _shared(layer_scale: bool, activation: Activation, eps: float) -> dict[str, Any]:
    return {
        **({"ls_init_value": 1.0} if layer_scale else {}),
        **({"act_kwargs": {"approximate": "tanh"}} if activation == "gelu_tanh" else {}),
        **({"norm_kwargs": {"eps": eps}} if eps != 1e-5 else {}),
    }


def _ratio(width: int, mlp_dim: int) -> float:
    """Find the mlp_ratio whose `int(width * ratio)` is mlp_dim."""
    ratio = mlp_dim / width
    return ratio if int(width * ratio) == mlp_dim else np.nextafter(ratio, np.inf).item()
