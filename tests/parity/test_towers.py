"""Both towers and every contribution against PyTorch's own modules, for every option and every layout of checkpoint.

Embeddings are compared with PyTorch in float32, as deployed; contributions with the same modules in float64.
"""

import json
from copy import deepcopy
from itertools import product
from types import SimpleNamespace
from typing import get_args

import jax
import numpy as np
import pytest
from parity import checkpoints
from parity.checkpoints import CFG, OPTIONS, config

import jaxclip
from jaxclip.model.contributions import AXES, Constants, Detail


def training(folder):
    told = {"model": str(folder / "cfg.json"), "activation": "gelu", "preprocess": "openai-bicubic-squash"}
    (folder / "cfg.json").write_text(json.dumps(CFG))
    return checkpoints.make_training(folder / "epoch_3.pt"), folder / "epoch_3.pt", told


def resized(folder):
    """A checkpoint read at another grid of patches than it was trained on; open_clip resizes for itself."""
    from open_clip.model import resize_pos_embed

    state = checkpoints.make_openclip(folder).state_dict()
    model = checkpoints.build(config(vision_image_size=[48, 40]))
    resize_pos_embed(state, model)
    model.load_state_dict(state)
    return model, folder, {"image_size": (48, 40)}


def openclip(option):
    return lambda folder: (checkpoints.make_openclip(folder, OPTIONS[option]), folder, {})


CHECKPOINTS = {
    **{option: openclip(option) for option in OPTIONS},
    "resized": resized,
    "pickled": lambda folder: (checkpoints.make_openclip(folder, pickled=True), folder, {}),
    "training": training,
    "hugging_face": lambda folder: (checkpoints.make_hf(folder), folder, {}),
    "openai": lambda folder: (checkpoints.make_openai(folder / "ViT.pt"), folder / "ViT.pt", {}),
}
"""Name -> a function of a folder that writes a checkpoint: (PyTorch model, source, what `load` has to be told)."""

ALL = list(product(get_args(Detail), get_args(Constants)))
# The other options are the text tower's and leave the image tower as it is.
IMAGE_OPTIONS = (
    "plain", "quick_gelu", "tanh", "eps", "layer_scale", "clipa", "no_ln_pre", "not_square", "mlp_ratio", "one_head",
    "hugging_face", "openai",
)  # fmt: skip
# Compiling every combination for all of them takes minutes; these two have the longest formulas.
WHOLE = ("clipa", "layer_scale")


@pytest.fixture(scope="module")
def opened(open_clip, tmp_path_factory):
    """A checkpoint by name, written and loaded once for the whole file."""
    kept = {}

    def get(name):
        if name not in kept:
            model, source, told = CHECKPOINTS[name](tmp_path_factory.mktemp(name))
            clip = jaxclip.load(source, **told)
            images = np.random.default_rng(0).standard_normal((2, *clip.config.vision.image_size, 3))
            kept[name] = SimpleNamespace(
                model=model, exact=deepcopy(model).double(), clip=clip, images=images.astype(np.float32)
            )
        return kept[name]

    return get


@pytest.fixture(autouse=True, scope="module")
def quickly_compiled():
    """Nearly all of the time here is LLVM's; the program it compiles stays the same. Real sizes are fully optimised."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def errors(ours, theirs, embedding):
    """Length of each difference along the last axis, relative to its image's embedding."""
    norm = np.linalg.norm(embedding, axis=-1)
    difference = np.linalg.norm(np.asarray(ours, np.float64) - theirs, axis=-1)
    return difference / norm.reshape(-1, *(1,) * (difference.ndim - 1))


def texts(config):
    """Token ids with one end of text each, padding behind it."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, config.vocab_size - 1, (4, config.context))
    for row, end in enumerate((1, 4, config.context - 2, config.context - 1)):
        tokens[row, end] = config.vocab_size - 1
        tokens[row, end + 1 :] = 0
    return tokens


def text_embedding(model, tokens):
    import torch

    with torch.no_grad():
        ids = torch.from_numpy(tokens)
        if hasattr(model, "visual"):
            return model.encode_text(ids).numpy()
        return model.text_projection(model.text_model(ids).pooler_output).numpy()


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_embedding_and_every_contribution_are_pytorchs(opened, name):
    from parity import reference

    held = opened(name)
    embedding, contributions = held.clip.vision(held.images)
    deployed, *_ = reference.decompose(held.model, held.images)
    exact, *terms = reference.decompose(held.exact, held.images)
    assert errors(embedding, deployed, exact).max() < 1e-5
    assert contributions.attn.shape == (2, *terms[1].shape[1:])
    for term, theirs in zip(("init", "attn", "mlp", "constant"), terms, strict=True):
        assert errors(getattr(contributions, term), theirs, exact).max() < 1e-6, term


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_text_embedding_is_pytorchs(opened, name):
    held = opened(name)
    tokens = texts(held.clip.config.text)
    theirs = text_embedding(held.model, tokens)
    assert errors(held.clip.encode_text(tokens), theirs, theirs).max() < 1e-5


@pytest.mark.parametrize(("detail", "constants"), ALL)
@pytest.mark.parametrize(
    "name", [name if name in WHOLE else pytest.param(name, marks=pytest.mark.large) for name in IMAGE_OPTIONS]
)
def test_the_parts_are_pytorchs_and_sum_in_every_detail_and_convention(opened, name, detail, constants):
    from parity import reference

    held = opened(name)
    embedding, contributions = held.clip.vision(held.images, detail=detail, constants=constants)
    assert errors(contributions.total(), embedding, embedding).max() < 1e-6
    exact, init, attn, mlp, constant = reference.decompose(held.exact, held.images, constants)
    summed = tuple(1 + i for i, axis in enumerate(AXES["full"]) if axis not in AXES[detail])
    theirs = {"init": init, "attn": attn.sum(summed), "mlp": mlp, "constant": constant}
    for term, expected in theirs.items():
        assert errors(getattr(contributions, term), expected, exact).max() < 1e-6, term
