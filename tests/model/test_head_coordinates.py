"""Head coordinates times fixed matrices are the heads' contributions."""

from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers

from jaxclip.model.contributions import Constants
from jaxclip.model.forward import forward
from jaxclip.model.head_coordinates import head_coordinates, head_matrices, head_state

OPTIONS = [{}, {"layer_scale": True, "n_heads": 2}, {"pool": "mean", "ln_pre": False, "layer_scale": True}]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("constants", get_args(Constants))
def test_coordinates_times_matrices_are_contributions(options, constants):
    vision = towers.vision(**options)
    images = towers.images(vision.config)
    expected = vision(images, detail="head", constants=constants)[1].attn
    terms = jax.jit(partial(forward, detail="head"))(vision, jnp.asarray(images))
    heads = head_coordinates(terms, vision.readout())
    matrices = head_matrices(vision, constants)
    assert heads.shape[-1] == matrices.shape[-2] == vision.config.head_dim + 3
    found = np.einsum("blhu,lhue->blhe", np.asarray(heads, np.float64), np.asarray(matrices, np.float64))
    assert np.abs(found - expected).max() < 1e-6 * np.linalg.norm(expected, axis=-1).max()


@pytest.mark.parametrize("options", OPTIONS)
def test_a_state_is_the_whole_decomposition(options):
    vision = towers.vision(**options)
    images = towers.images(vision.config)
    embedding, full = vision(images)
    state = head_state(vision, images)
    contributions = state.contributions(head_matrices(vision))
    scale = np.abs(np.asarray(embedding)).max()
    for mine, theirs in (
        (state.embedding, embedding),
        (contributions.total(), embedding),
        (contributions.attn, full.reduce("head").attn),
        (state.init, full.init),
        (state.mlp, full.mlp),
        (state.class_attn, full.attn[:, :, :, 0].sum(2)),
    ):
        assert np.abs(np.asarray(mine) - np.asarray(theirs)).max() < 2e-6 * scale


def test_dividing_by_the_norm_divides_the_coordinates():
    vision = towers.vision()
    images = towers.images(vision.config)
    state = head_state(vision, images).normalized()
    expected = vision(images, detail="head")[1].normalized()
    assert np.allclose(np.linalg.norm(state.embedding, axis=-1), 1, atol=1e-6)
    assert np.abs(np.asarray(state.contributions(head_matrices(vision)).attn - expected.attn)).max() < 1e-6
