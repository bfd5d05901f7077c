"""A small random CLIP as a folder in OpenCLIP's format, for tests of commands. Nothing is compiled to make it."""

import numpy as np
import towers

from jaxclip.config import ClipConfig, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.convert import export_openclip
from jaxclip.params import shapes, unflatten


def export(path, **preprocess):
    look = {"size": (48, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "interpolation": "bicubic"}
    config = ClipConfig(
        name="small",
        vision=VisionConfig(**towers.VISION),
        text=TextConfig(**towers.TEXT | {"vocab_size": 49408}),
        preprocess=PreprocessConfig(**look | {"resize_mode": "shortest"} | preprocess),
    )
    rng = np.random.default_rng(0)
    leaves = {
        name: np.float32(1 + 0.1 * rng.standard_normal(shape) if name.endswith("scale") else
                         rng.standard_normal(shape) * (shape[-2] if len(shape) > 1 else 9) ** -0.5)
        for name, shape in shapes(config).items()
    }  # fmt: skip
    export_openclip(unflatten(leaves), config, path)
    return path
