"""A head is the sum of what its singular directions read and write; weights alone say which directions those are."""

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import towers

from jaxclip.analyses.directions import describe
from jaxclip.analyses.ov_circuits import ov_circuits
from jaxclip.config import Compute

OPTIONS = [{}, {"layer_scale": True, "n_heads": 2, "embed_dim": 7}]


def products(params, layer, head):
    """A @ B and the bias of one head in float64, as the module's docstring has them but in full matrices."""
    params = oracle.as_float64(params)
    block = oracle.layer_of(params["blocks"], layer)
    width = len(params["projection"])
    centring = np.eye(width) - 1 / width
    out = block["attn_out"]["kernel"][head] * block.get("ls_1", 1.0)
    write = out @ centring @ np.diag(params["ln_post"]["scale"]) @ params["projection"]
    values = block["attn_in"]["kernel"][:, 2, head]
    bias = (block["ln_1"]["bias"] @ values + block["attn_in"]["bias"][2, head]) @ write
    return centring @ np.diag(block["ln_1"]["scale"]) @ values @ write, bias


@pytest.mark.parametrize("options", OPTIONS)
def test_directions_are_singular_vectors_of_the_folded_weights(options):
    vision = towers.vision(**options)
    circuits, params = ov_circuits(vision), towers.params(vision)
    for layer in range(vision.config.n_layers):
        for head in range(vision.config.n_heads):
            whole, bias = products(params, layer, head)
            inputs, strengths, outputs = (
                np.asarray(x[layer, head], np.float64) for x in (circuits.inputs, circuits.strengths, circuits.outputs)
            )
            expected = np.linalg.svd(whole, compute_uv=False)[: len(strengths)]
            assert np.abs(strengths - expected).max() < 1e-6 * expected[0]
            assert np.abs(inputs.T * strengths @ outputs - whole).max() < 1e-6 * expected[0]
            assert np.abs(circuits.bias[layer, head] - bias).max() < 1e-6 * max(np.abs(bias).max(), expected[0])
    assert np.allclose(circuits.share.sum(-1), 1, atol=1e-6)
    assert (np.diff(circuits.strengths, axis=-1) <= 0).all()


@pytest.mark.parametrize("options", OPTIONS)
def test_circuits_given_pattern_and_sigma_are_the_heads_contributions(options):
    """sum over tokens of pattern / (sigma_t sigma) * x_t @ inputsᵀ @ diag(strengths) @ outputs + bias / sigma."""
    vision = towers.vision(**options)
    config, params = vision.config, oracle.as_float64(towers.params(vision))
    image = towers.images(config, 1)[0]
    expected = oracle.decompose(image, params, config, "separate")[1:3]
    z = oracle.terms(image, params, config)[0]
    sigma = np.sqrt(z.var() + config.eps)
    circuits, x = ov_circuits(vision), oracle.tokens(np.asarray(image, np.float64), params, config)
    block = oracle.layer_of(params["blocks"], 0)
    y = oracle.norm(x, block["ln_1"], config.eps)
    q, k, _ = np.einsum("tw,wxhc->xhtc", y, block["attn_in"]["kernel"]) + block["attn_in"]["bias"][:, :, None]
    pattern = oracle.softmax(np.einsum("hc,htc->ht", q[:, 0], k) / np.sqrt(config.head_dim))
    read = np.einsum("ht,tw,hrw->hr", pattern, x / np.sqrt(x.var(-1, keepdims=True) + config.eps), circuits.inputs[0])
    found = (np.einsum("hr,hr,hre->he", read, circuits.strengths[0], circuits.outputs[0]) + circuits.bias[0]) / sigma
    assert np.abs(found - expected[1][0].sum(1)).max() < 1e-5 * np.abs(expected[1]).max()


def test_a_planted_head_writes_what_it_was_given_to_write():
    """One head whose W_V reads one direction and whose W_O writes one: both are found, and named by their text."""
    vision = towers.vision()
    rng, config = np.random.default_rng(3), vision.config
    values = np.asarray(vision.blocks.attn_in.kernel[...]).copy()
    kernel = np.asarray(vision.blocks.attn_out.kernel[...]).copy()
    values[1, :, 2, 3], kernel[1, 3] = 0, 0
    values[1, :, 2, 3, 0] = rng.standard_normal(config.width)
    kernel[1, 3, 0] = rng.standard_normal(config.width)
    vision.blocks.attn_in.kernel[...] = jnp.asarray(values)
    vision.blocks.attn_out.kernel[...] = jnp.asarray(kernel)
    circuits = ov_circuits(vision)
    assert np.allclose(circuits.share[1, 3, 0], 1, atol=1e-6)
    written = products(towers.params(vision), 1, 3)[0]
    direction = np.linalg.svd(written)[2][0]
    texts = np.concatenate([rng.standard_normal((8, config.embed_dim)), [3 * direction, -direction]])
    ends = describe(circuits.outputs[1, 3, 0], jnp.asarray(texts, jnp.float32), 2)
    assert {int(ends.toward[0]), int(ends.away[0])} == {8, 9}
    assert np.allclose([ends.toward_cosines[0], ends.away_cosines[0]], [1, -1], atol=1e-5)


def test_the_sign_is_settled_and_a_dead_head_has_no_share():
    vision = towers.vision(compute=Compute(dtype="bfloat16"))
    kernel = vision.blocks.attn_out.kernel
    kernel[...] = kernel[...].at[0, 1].set(0)
    circuits = ov_circuits(vision)
    largest = np.take_along_axis(np.asarray(circuits.outputs), np.abs(circuits.outputs).argmax(-1)[..., None], axis=-1)
    assert (largest >= 0).all()
    assert not np.asarray(circuits.share[0, 1]).any()
    assert np.isfinite(np.asarray(circuits.outputs)).all()


def test_bad_input_is_named():
    vision = towers.vision()
    with pytest.raises(ValueError, match="between 1 and 3"):
        describe(np.ones((2, 4), np.float32), np.ones((3, 4), np.float32), 4)
    scale = vision.ln_post.scale
    scale[...] = scale[...].at[0].set(np.nan)
    with pytest.raises(ValueError, match="NaN"):
        ov_circuits(vision)
