"""`scenes`: a procedural image-text data set in which every factor is known and every mask is exact.

`scene(seed, split, index)` is a pure function: no state, no files, the same bytes in every process.
"""

from pathlib import Path
from typing import Any

from jaxclip.data.scenes.captioning import PROMPTS, caption, captions, prompts
from jaxclip.data.scenes.drawing import Placement, Scene, render
from jaxclip.data.scenes.spec import (
    BACKGROUNDS,
    BIRDS,
    CLASSES,
    COLOURS,
    GROUPS,
    NUMBERS,
    PLACES,
    RELATIONS,
    SHAPES,
    SIZES,
    TEXTURES,
    Group,
    SceneSpec,
    Split,
    sample_spec,
    scene_rng,
)

FACTORS: dict[str, tuple[str, ...]] = {
    "background": BACKGROUNDS, "shape": SHAPES, "bird": BIRDS, "colour": COLOURS, "texture": TEXTURES, "size": SIZES,
    "number": NUMBERS, "place": PLACES, "relation": RELATIONS, "group": tuple(map("_on_".join, GROUPS)),
}  # fmt: skip
"""Factor -> names of its values; `SceneSpec.labels` indexes them."""

CHECKPOINT = Path(__file__).parent / "scenes_clip"
"""The CLIP trained on these scenes, in OpenCLIP's format; `experiments/export_scenes.py` writes it."""

__all__ = [
    "CHECKPOINT",
    "CLASSES",
    "FACTORS",
    "PROMPTS",
    "Group",
    "Placement",
    "Scene",
    "SceneSpec",
    "caption",
    "captions",
    "prompts",
    "render",
    "sample_spec",
    "scene",
    "scene_rng",
]


def scene(seed: int, split: Split, index: int, size: int = 96, n_captions: int = 5) -> dict[str, Any]:
    """One example.

    Args:
      seed: of the data set.
      split: `train` holds the spurious cue, `validation` and `test` are balanced.
      index: of the example; any integer from 0.
      size: height and width of the image in pixels.
      n_captions: captions drawn for it.

    Returns:
      `image` (uint8), `mask` (indices into `CLASSES`), `instances`, `captions`, `spec` (every factor in words),
      `placements`, `labels` (factor -> index, -1 where it does not apply).
    """
    rng = scene_rng(seed, split, index)
    spec = sample_spec(rng, split, index)
    drawn = render(spec, rng, size)
    return {
        "image": drawn.image, "mask": drawn.mask, "instances": drawn.instances,
        "captions": captions(spec, rng, n_captions), "spec": spec.to_dict(), "placements": drawn.placements,
        "labels": spec.labels,
    }  # fmt: skip
