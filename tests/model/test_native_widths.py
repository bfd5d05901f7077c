"""Float32 sums at the real width and depth of the largest native image towers, on random weights.

Terms are added in float64 and compared with the embedding of their own pass, and with the plain forward pass, which is
another program. Beside PyTorch, sizes up to ViT-H-14 are in tests/parity/test_real_sizes.py: there is no room for a
second copy of these.
"""

import jax.numpy as jnp
import numpy as np
import pytest
import small
import towers

from jaxclip.clip import fill
from jaxclip.config import ClipConfig, Compute, PreprocessConfig
from jaxclip.convert import registry
from jaxclip.convert.formats.openclip import openclip_towers
from jaxclip.model.params import shapes, unflatten
from jaxclip.model.vision import VisionTransformer

SUM = 1e-6
"""Of the embedding's norm, entry by entry: terms against the embedding of their own pass."""
PASS = 1e-5
"""The same against another program, whose products add in another order in every layer."""


def tower(config):
    """Weights of the sizes that a tower is initialised with, made one array at a time: ViT-bigG-14 has 7 GB of them."""
    rng = np.random.default_rng(0)
    deep = (2 * config.n_layers) ** -0.5

    def leaf(path, shape):
        draw = rng.standard_normal(shape, np.float32)
        if path.endswith("scale"):
            return jnp.asarray(1 + np.float32(0.1) * draw)
        fan_in = config.mlp_dim if "mlp_out" in path else config.width
        draw *= np.float32((deep if "_out" in path else 1) * fan_in**-0.5)
        return jnp.asarray(draw)

    preprocess = PreprocessConfig(**small.PREPROCESS | {"size": config.image_size})
    whole = ClipConfig(name="wide", vision=config, text=None, text_missing="none", preprocess=preprocess)
    params = unflatten({path: leaf(path, shape) for path, shape in shapes(whole).items()})
    return fill(VisionTransformer, config, params["vision"], Compute())


def exact_sum(contributions):
    parts = [contributions.init, contributions.attn, contributions.mlp, contributions.constant]
    return sum(np.asarray(x).sum(tuple(range(1, x.ndim - 1)), dtype=np.float64) for x in parts)


@pytest.mark.large
@pytest.mark.parametrize("name", ["ViT-g-14", "ViT-bigG-14"])
def test_terms_sum_to_the_embedding(name):
    vision = tower(openclip_towers(registry.model_cfg(name)).vision)
    images = towers.images(vision.config, batch=1)
    plain, found = np.float64(vision.embed(images)), {}
    norm = np.linalg.norm(plain)
    for constants, detail in (("spread", "full"), ("separate", "head"), ("spread", "token")):
        embedding, contributions = vision(images, constants=constants, detail=detail)
        total, exact = np.float64(contributions.total()), exact_sum(contributions)
        pairs = {"total": (total, embedding, SUM), "terms": (exact, embedding, SUM), "pass": (exact, plain, PASS)}
        for what, (ours, wanted, most) in pairs.items():
            found[constants, detail, what] = np.abs(ours - np.float64(wanted)).max() / norm, most
    assert {at: error for at, (error, most) in found.items() if not error < most} == {}
