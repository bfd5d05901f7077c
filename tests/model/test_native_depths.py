"""Float32 sums at every depth that OpenCLIP's native image towers have, beside float64.

Towers have a native configuration's own depth, heads and options, but heads of 8 numbers and 12 patches, so that
float64 is cheap. Weights have the sizes they are initialised with. That matters for the terms, not for their sum: where
queries and keys are large, patterns are sharp, and each layer multiplies the rounding of those before it (with three
times larger ones, terms of the deepest towers are off by 6e-6 of the norm, and the sum by 2e-7 as before).
"""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import small
import towers

from jaxclip.clip import fill
from jaxclip.config import ClipConfig, Compute, PreprocessConfig
from jaxclip.convert import CheckpointError, registry
from jaxclip.convert.formats.openclip import openclip_towers
from jaxclip.model.vision import VisionTransformer

OFTEN = {"ViT-M-16-alt", "ViT-H-14-quickgelu", "ViT-bigG-14-CLIPA", "ViT-e-14"}
"""Every option once, and the deepest; the others come with -m nightly."""
SUM = 1e-6
"""Of the embedding's norm. A sum of n terms of this size rounds by about the root of n times 6e-8."""
TERMS = 1e-6
"""Of the embedding's norm, each term by itself, through all layers before it."""


def configs():
    """One name for every depth, number of heads and set of options."""
    found = {}
    for name in registry.model_names():
        try:
            config = openclip_towers(registry.model_cfg(name)).vision
        except CheckpointError:  # CoCa
            continue
        same = (config.n_layers, config.n_heads, config.activation, config.pool, config.ln_pre, config.layer_scale)
        if same not in found or name in OFTEN:
            found[same] = (name, config)
    return dict(found.values())


CONFIGS = configs()


def narrow(config):
    return replace(
        config, width=8 * config.n_heads, mlp_dim=max(1, 8 * config.n_heads * config.mlp_dim // config.width),
        embed_dim=4 * config.n_heads, image_size=(18, 24), patch_size=(6, 6),
    )  # fmt: skip


def tower(config, seed=0):
    """Random weights, none of them trivial, of the sizes that a tower is initialised with."""
    preprocess = PreprocessConfig(**small.PREPROCESS | {"size": config.image_size})
    whole = ClipConfig(name="narrow", vision=config, text=None, text_missing="none", preprocess=preprocess)
    params = small.params(whole, seed)["vision"]
    params["blocks"]["attn_in"]["kernel"] *= np.float32((config.n_heads / config.width) ** 0.5)
    for kind in ("attn_out", "mlp_out"):
        for leaf in ("kernel", "bias"):
            params["blocks"][kind][leaf] *= np.float32((2 * config.n_layers) ** -0.5)
    return fill(VisionTransformer, config, params, Compute())


def test_every_native_configuration_is_there():
    assert CONFIGS.keys() >= OFTEN
    assert {config.n_layers for config in CONFIGS.values()} == {12, 24, 32, 40, 48, 56}
    often = [CONFIGS[name] for name in OFTEN]
    for option in ("activation", "pool", "ln_pre", "layer_scale"):
        assert {getattr(one, option) for one in often} == {getattr(one, option) for one in CONFIGS.values()}, option


@pytest.mark.parametrize("name", [n if n in OFTEN else pytest.param(n, marks=pytest.mark.nightly) for n in CONFIGS])
def test_sums_and_terms_at_full_depth(name):
    vision = tower(narrow(CONFIGS[name]))
    images = towers.images(vision.config)
    for constants, detail in (("spread", "full"), ("separate", "head")):
        embedding, contributions = vision(images, constants=constants, detail=detail)
        embedding, total = np.float64(embedding), np.float64(contributions.total())
        norms = np.linalg.norm(embedding, axis=-1)
        assert (np.abs(total - embedding).max(-1) < SUM * norms).all()
        expected = oracle.decompose(images[0], towers.params(vision), vision.config, constants)
        attn = expected[2] if detail == "full" else expected[2].sum(2)
        ours = (embedding, contributions.init, contributions.attn, contributions.mlp)
        for mine, theirs in zip(ours, (*expected[:2], attn, expected[3]), strict=True):
            assert np.abs(np.float64(mine[0]) - theirs).max() < TERMS * norms[0]
