"""Models as they were during training: what `train_scenes.py` saved, opened as a CLIP without its training script."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from scenes_presets import MEAN, STD

import jaxclip
from jaxclip.clip import Clip, build
from jaxclip.config import ClipConfig, Compute, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.model.params import unflatten
from jaxclip.tokenizer import from_folder


def training_steps(folder: Path) -> list[int]:
    """Steps of the finished checkpoints in a folder, first to last.

    Raises:
      FileNotFoundError: there are none.
    """
    found = sorted(int(path.name) for path in folder.glob("[0-9]*") if is_training_step(path))
    if not found:
        raise FileNotFoundError(f"{folder} holds no checkpoints of a training; pass train_scenes.py's --checkpoints.")
    return found


def is_training_step(path: Path) -> bool:
    return path.name.isdigit() and (path / "state" / "_METADATA").is_file()


def open_model(source: str) -> Clip:
    """A training step's folder (CHECKPOINTS/STEP), or anything that `jaxclip.load` takes."""
    return load_step(Path(source)) if is_training_step(Path(source)) else jaxclip.load(source)


def load_step(path: Path) -> Clip:
    """The model of one training step; sizes follow from the shapes of its parameters."""
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        metadata = checkpointer.metadata((path / "state").resolve()).item_metadata
        kinds = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), dict(metadata.tree))
        state = checkpointer.restore((path / "state").resolve(), args=ocp.args.PyTreeRestore(restore_args=kinds))
    params = unflatten(state["params"])
    config = config_of(params, step=int(state["step"]))
    assert config.text is not None
    return build(config, params, Compute(), from_folder(CHECKPOINT, config.text.context))


def config_of(params: dict[str, Any], step: int) -> ClipConfig:
    """The scenes' CLIP whose parameters these are; its pictures and patches are square."""
    vision, text = params["vision"], params["text"]
    patch = round((len(vision["patch_embedding"]) / 3) ** 0.5)
    side = patch * round((len(vision["positional_embedding"]) - 1) ** 0.5)
    size, embed = (side, side), vision["projection"].shape[1]
    return ClipConfig(
        name=f"scenes, step {step}",
        vision=VisionConfig(image_size=size, patch_size=(patch, patch), **_tower(vision, embed)),
        text=TextConfig(
            context=len(text["positional_embedding"]), vocab_size=len(text["token_embedding"]), **_tower(text, embed)
        ),
        preprocess=PreprocessConfig(
            size=size, mean=(MEAN, MEAN, MEAN), std=(STD, STD, STD), interpolation="bicubic", resize_mode="shortest"
        ),
    )


def _tower(params: dict[str, Any], embed: int) -> dict[str, Any]:
    layers, width, _, heads, _ = params["blocks"]["attn_in"]["kernel"].shape
    neurons = params["blocks"]["mlp_in"]["kernel"].shape[-1]
    return {
        "width": width, "n_layers": layers, "n_heads": heads, "mlp_dim": neurons, "embed_dim": embed,
        "activation": "gelu",
    }  # fmt: skip
