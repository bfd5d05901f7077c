"""Real model sizes with random weights against open_clip: float32 holds its tolerances at depth 32 as at depth 3."""

import gc
import json
from itertools import product
from typing import get_args

import numpy as np
import pytest

import jaxclip
from jaxclip.model.contributions import Constants, Detail

LARGE = pytest.mark.large


def write(folder, name):
    """open_clip's own initialisation, LayerNorms and biases made non-trivial, as a checkpoint folder; its model."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    model = open_clip.create_model(name, pretrained=None).eval()
    with torch.no_grad():
        for weights in (p for p in model.parameters() if p.ndim == 1):
            weights.add_(0.05 * torch.randn_like(weights))
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    described = {"model_cfg": open_clip.get_model_config(name), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items() if key != "attn_mask"}
    save_file(state, str(folder / "open_clip_model.safetensors"))
    return model


def pytorch(folder, name, images, tokens):
    """Both embeddings in float32, then the image tower's head contributions from the same weights in float64."""
    import torch
    from parity import reference

    model = write(folder, name)
    with torch.no_grad():
        texts = model.encode_text(torch.from_numpy(tokens)).numpy()
        deployed = model.encode_image(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    del model.transformer
    exact = reference.decompose(model.double(), images, per_token=False)
    return texts, deployed, exact


def errors(ours, theirs, embedding):
    norm = np.linalg.norm(embedding, axis=-1)
    difference = np.linalg.norm(np.asarray(ours, np.float64) - theirs, axis=-1)
    return (difference / norm.reshape(-1, *(1,) * (difference.ndim - 1))).max()


def measured(folder, name, batch):
    """Largest relative error of everything that is compared, with what is allowed."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((batch, 224, 224, 3)).astype(np.float32)
    tokens = rng.integers(1, 49406, (batch, 77))
    tokens[:, 20], tokens[:, 21:] = 49407, 0
    texts, deployed, (exact, *terms) = pytorch(folder, name, images, tokens)
    gc.collect()
    clip = jaxclip.load(folder)
    found = {"texts": (errors(clip.encode_text(tokens), texts, texts), 1e-5)}
    embedding, contributions = clip.vision(images, detail="head")
    found["images"] = errors(embedding, deployed, deployed), 1e-5
    for term, theirs in zip(("init", "attn", "mlp", "constant"), terms, strict=True):
        found[term] = errors(getattr(contributions, term), theirs, exact), 1e-6
    for detail, constants in product(get_args(Detail), get_args(Constants)):
        embedding, contributions = clip.vision(images, detail=detail, constants=constants)
        found[f"sum, {detail}, {constants}"] = errors(contributions.total(), embedding, embedding), 1e-6
    return found


@pytest.mark.parametrize(
    ("name", "batch"),
    [("ViT-B-32", 2), *(pytest.param(name, 1, marks=LARGE) for name in ("ViT-B-16", "ViT-L-14", "ViT-H-14"))],
)
def test_a_real_size_agrees_with_open_clip_and_sums(open_clip, tmp_path, name, batch):
    found = measured(tmp_path, name, batch)
    assert {what: error for what, (error, allowed) in found.items() if not error < allowed} == {}
