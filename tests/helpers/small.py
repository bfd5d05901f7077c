"""Small random CLIPs that cost nothing to make: no array is drawn by JAX, so nothing is compiled."""

import numpy as np
import towers

from jaxclip.clip import fill
from jaxclip.config import ClipConfig, Compute, PreprocessConfig, TextConfig, VisionConfig
from jaxclip.convert import export_openclip
from jaxclip.model.params import shapes, unflatten
from jaxclip.model.vision import VisionTransformer

PREPROCESS = {
    "size": (48, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25), "interpolation": "bicubic",
    "resize_mode": "shortest",
}  # fmt: skip


def export(path, **preprocess):
    """A folder in OpenCLIP's format, for tests of commands."""
    config = ClipConfig(
        name="small",
        vision=VisionConfig(**towers.VISION),
        text=TextConfig(**towers.TEXT | {"vocab_size": 49408}),
        preprocess=PreprocessConfig(**PREPROCESS | preprocess),
    )
    export_openclip(params(config), config, path)
    return path


TWO_LAYERS = {"image_size": (16, 16), "patch_size": (8, 8), "width": 32, "n_layers": 2, "mlp_dim": 48, "embed_dim": 16}


def export_two_layers(path):
    """Shallow enough that what devices round differently stays below 1e-6."""
    image, text = towers.vision(**TWO_LAYERS), towers.text(vocab_size=49408, embed_dim=16)
    preprocess = PreprocessConfig(**PREPROCESS | {"size": (16, 16), "resize_mode": "squash"})
    config = ClipConfig(name="small", vision=image.config, text=text.config, preprocess=preprocess)
    weights = {"vision": towers.params(image), "text": towers.params(text), "logit_scale": np.float32(2.0)}
    export_openclip(weights, config, path)
    return path


def vision(compute=None, **changes):
    """An image tower alone."""
    config = ClipConfig(
        name="small",
        vision=VisionConfig(**towers.VISION | changes),
        text=None,
        text_missing="an image tower alone",
        preprocess=PreprocessConfig(**PREPROCESS),
    )
    return fill(VisionTransformer, config.vision, params(config)["vision"], compute or Compute())


def params(config, seed=0):
    """Every weight non-trivial."""
    rng = np.random.default_rng(seed)

    def leaf(name, shape):
        if name.endswith("scale") or ".ls_" in name:
            return 1 + 0.1 * rng.standard_normal(shape)
        return rng.standard_normal(shape) * (shape[-2] if len(shape) > 1 else 9) ** -0.5

    return unflatten({name: np.float32(leaf(name, shape)) for name, shape in shapes(config).items()})
