"""Baselines against the papers' formulas, written as loops in NumPy float64 over patterns computed there."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import towers

from jaxclip.analyses.segmentation import baselines, masks

OPTIONS = [{}, {"pool": "mean", "layer_scale": True}]


def patterns_of(image, params, config, nudge=0.0):
    """Embedding [e], patterns [l h q t] and the last layer's values through its output projection [t w], float64."""
    params = oracle.as_float64(params)
    x, patterns = oracle.tokens(np.asarray(image, np.float64), params, config), []
    for layer in range(config.n_layers):
        block = oracle.layer_of(params["blocks"], layer)
        gamma_1, gamma_2 = block.get("ls_1", 1.0), block.get("ls_2", 1.0)
        kernel, bias = block["attn_in"]["kernel"], block["attn_in"]["bias"]
        q, k, v = np.einsum("tw,wxhc->xhtc", oracle.norm(x, block["ln_1"], config.eps), kernel) + bias[:, :, None]
        pattern = oracle.softmax(np.einsum("hqc,htc->hqt", q, k) / np.sqrt(config.head_dim))
        patterns.append(pattern)
        pattern = pattern + (nudge[layer] if np.ndim(nudge) else nudge)
        out = block["attn_out"]
        values = (np.einsum("htc,hcw->tw", v, out["kernel"]) + out["bias"]) * gamma_1
        x = x + (np.einsum("hqt,htc,hcw->qw", pattern, v, out["kernel"]) + out["bias"]) * gamma_1
        hidden = oracle.norm(x, block["ln_2"], config.eps) @ block["mlp_in"]["kernel"] + block["mlp_in"]["bias"]
        hidden = oracle.activation(hidden, config.activation)
        x = x + (hidden @ block["mlp_out"]["kernel"] + block["mlp_out"]["bias"]) * gamma_2
    z = x[0] if config.pool == "class" else x[1:].mean(0)
    embed = lambda y: oracle.norm(y, params["ln_post"], config.eps) @ params["projection"]  # noqa: E731
    return embed(z), np.stack(patterns), embed(values)


def read(matrix, config):
    row = matrix[..., 0, :] if config.pool == "class" else matrix[..., 1:, :].mean(-2)
    return row[..., 1:]


def cosine(a, b):
    return a @ b / np.linalg.norm(a, axis=-1) / np.linalg.norm(b)


@pytest.fixture(params=OPTIONS, ids=["class", "mean"])
def case(request):
    vision = towers.vision(**request.param)
    images = towers.images(vision.config)
    directions = np.random.default_rng(3).standard_normal((2, vision.config.embed_dim)).astype(np.float32)
    return vision, images, directions


def close(heat, expected, vision):
    expected = np.stack(expected).reshape(-1, *vision.config.grid)
    np.testing.assert_allclose(heat, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_the_watched_pass_is_the_towers(case):
    vision, images, _ = case
    embedding, patterns = baselines.watch(vision, images)
    np.testing.assert_allclose(embedding, vision.embed(images), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(patterns.sum(-1), 1, rtol=1e-6)
    for i, image in enumerate(images):
        expected = patterns_of(image, towers.params(vision), vision.config)[1]
        np.testing.assert_allclose(patterns[:, i], expected, rtol=0, atol=1e-5)


def test_gradients_are_slopes_of_the_cosine(case):
    vision, images, directions = case
    _, gradients = baselines.watch_gradients(vision, images, directions)
    nudge = np.random.default_rng(0).standard_normal(gradients.shape)
    for i, image in enumerate(images):
        ends = [
            cosine(patterns_of(image, towers.params(vision), vision.config, sign * nudge[:, i])[0], directions[i])
            for sign in (1e-5, -1e-5)
        ]
        slope = (np.asarray(gradients[:, i], np.float64) * nudge[:, i]).sum()
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-3, abs=1e-5)


def test_every_baseline_is_its_papers_formula(case):
    vision, images, directions = case
    config, params = vision.config, towers.params(vision)
    gradients = np.asarray(baselines.watch_gradients(vision, images, directions)[1], np.float64)
    expected = {name: [] for name in baselines.BASELINES}
    for i, image in enumerate(images):
        _, patterns, values = patterns_of(image, params, config)
        identity = np.eye(config.n_tokens)
        rolled, relevance = identity, identity
        for pattern, gradient in zip(patterns, gradients[:, i], strict=True):
            rolled = (0.5 * pattern.mean(0) + 0.5 * identity) @ rolled
            relevance = relevance + np.maximum(pattern * gradient, 0).mean(0) @ relevance
        weights = read(gradients[-1, i], config).mean(-1)
        expected["raw attention"].append(read(patterns[-1].mean(0), config))
        expected["rollout"].append(read(rolled, config))
        expected["generic attention explainability"].append(read(relevance, config))
        expected["Grad-CAM"].append(
            np.maximum(np.mean([w * one for w, one in zip(weights, read(patterns[-1], config), strict=True)], 0), 0)
        )
        expected["MaskCLIP"].append(cosine(values, directions[i].astype(np.float64))[1:])
    for name, baseline in baselines.BASELINES.items():
        close(baseline(vision, images, directions), expected[name], vision)


def test_what_needs_no_direction_ignores_it_and_the_rest_does_not(case):
    vision, images, directions = case
    for name, baseline in baselines.BASELINES.items():
        same = np.allclose(baseline(vision, images, directions), baseline(vision, images, -directions))
        assert same == (name in ("raw attention", "rollout")), name


def test_they_make_masks_as_text_maps_do(case):
    vision, images, directions = case
    for baseline in baselines.BASELINES.values():
        heat = masks.to_pixels(baseline(vision, images, directions), (48, 32), (16, 8))
        found = masks.foreground(heat)
        assert found.labels.shape == (2, 48, 32)
        assert bool(jnp.isfinite(found.scores).all())


def test_depth_does_not_change_the_program():
    def program(depth):
        vision = towers.vision(n_layers=depth)
        images = towers.images(vision.config)
        directions = np.ones((2, vision.config.embed_dim), np.float32)
        return len(jax.jit(baselines.generic_attention).lower(vision, images, directions).as_text())

    assert abs(program(24) / program(4) - 1) < 0.01
