"""Small random towers for the tests: every weight made non-trivial, so that nothing is right by being zero or one."""

import jax
import numpy as np
from flax import nnx

from jaxclip.config import Compute, TextConfig, VisionConfig
from jaxclip.model.text import TextTransformer
from jaxclip.model.vision import VisionTransformer

VISION = {
    "image_size": (48, 32), "patch_size": (16, 8), "width": 48, "n_layers": 3, "n_heads": 4, "mlp_dim": 100,
    "embed_dim": 24, "activation": "gelu",
}  # fmt: skip
TEXT = {
    "context": 12, "vocab_size": 50, "width": 32, "n_layers": 2, "n_heads": 4, "mlp_dim": 64, "embed_dim": 24,
    "activation": "gelu",
}  # fmt: skip


def shake(module, seed=0):
    """The module with noise on every weight."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda x: x + 0.1 * rng.standard_normal(x.shape).astype(x.dtype), module)


def vision(seed=0, compute=None, **changes):
    config = VisionConfig(**VISION | changes)
    return scaled(shake(VisionTransformer(config, nnx.Rngs(seed), compute or Compute()), seed), seed)


def scaled(tower, seed=0):
    """The tower with LayerScale's gammas, where it has any, far from one and of either sign: forgotten once, or used
    twice, they show. Where products of one sign share what they are given, their size alone would cancel."""
    rng = np.random.default_rng(seed + 1)
    for gamma in (tower.blocks.ls_1, tower.blocks.ls_2):
        if gamma is not None:
            sizes = rng.uniform(0.3, 1.9, gamma[...].shape) * rng.choice([-1, 1], gamma[...].shape)
            gamma[...] = sizes.astype(np.float32)
    return tower


def text(seed=0, **changes):
    return shake(TextTransformer(TextConfig(**TEXT | changes), nnx.Rngs(seed)), seed)


def images(config, batch=2, seed=0):
    return np.random.default_rng(seed).standard_normal((batch, *config.image_size, 3)).astype(np.float32)


def params(module):
    """The parameter tree as NumPy arrays, by name."""
    return nnx.to_pure_dict(jax.tree.map(np.asarray, nnx.state(module)))
