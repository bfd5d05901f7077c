"""Sizes of the CLIP that is trained on the scenes, and the schedules that suit each machine."""

from dataclasses import dataclass

from scenes_data import CONTEXT

from jaxclip.config import ClipConfig, DType, PreprocessConfig, TextConfig, VisionConfig

MEAN = STD = 0.5


@dataclass(frozen=True)
class Preset:
    """`shard` scenes are walked through at a time, in batches made of
    `run` scenes that share most factors; `shift` is the random displacement in pixels."""

    pixels: int = 96
    patch: int = 8
    width: int = 160
    n_layers: int = 8
    n_heads: int = 5
    text_width: int = 128
    text_layers: int = 3
    embed: int = 128
    n_shards: int = 5
    shard: int = 65536
    n_captions: int = 8
    batch: int = 1024
    run: int = 32
    n_held_out: int = 8000
    learning_rate: float = 1e-3
    weight_decay: float = 0.1
    warmup: int = 500
    shift: int = 3
    steps: int = 12000
    dtype: DType = "bfloat16"


# fmt: off
PRESETS = {
    "gpu": Preset(),
    "cpu": Preset(
        patch=12, width=128, n_layers=6, n_heads=4, text_layers=2, n_shards=4, shard=20480, batch=128, n_held_out=2000,
        learning_rate=2e-3, warmup=200, steps=6000, dtype="float32",
    ),
    "tiny": Preset(
        patch=16, width=64, n_layers=6, n_heads=4, text_width=64, text_layers=2, embed=64, n_shards=2, shard=2048,
        n_captions=4, batch=128, n_held_out=400, warmup=20, steps=200, dtype="float32",
    ),
}
# fmt: on


def clip_config(preset: Preset, vocab_size: int) -> ClipConfig:
    size = (preset.pixels, preset.pixels)
    return ClipConfig(
        name="scenes",
        vision=VisionConfig(
            image_size=size, patch_size=(preset.patch, preset.patch), width=preset.width, n_layers=preset.n_layers,
            n_heads=preset.n_heads, mlp_dim=4 * preset.width, embed_dim=preset.embed, activation="gelu",
        ),
        text=TextConfig(
            context=CONTEXT, vocab_size=vocab_size, width=preset.text_width, n_layers=preset.text_layers, n_heads=4,
            mlp_dim=4 * preset.text_width, embed_dim=preset.embed, activation="gelu",
        ),
        preprocess=PreprocessConfig(
            size=size, mean=(MEAN, MEAN, MEAN), std=(STD, STD, STD), interpolation="bicubic", resize_mode="shortest"
        ),
    )  # fmt: skip
