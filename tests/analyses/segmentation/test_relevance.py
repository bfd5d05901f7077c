"""Relevance propagation: the rules of the paper and of its released baselines written out in NumPy float64."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import small
import towers
from test_baselines import OPTIONS, read

from jaxclip.analyses.segmentation import baselines, relevance
from jaxclip.config import Compute


def divided(a, b):
    return np.divide(a, b, out=np.zeros(np.broadcast_shapes(np.shape(a), np.shape(b))), where=b != 0)


def z_plus(x, weights, given, rules):
    """Linear layer [n i] @ [i o]: inputs share what an output was given by products of one sign with the weights."""
    above = np.maximum(x, 0)[:, :, None] * np.maximum(weights, 0)
    below = np.minimum(x, 0)[:, :, None] * np.minimum(weights, 0)
    whole, negative = (above + below).sum(1, keepdims=True), below.sum(1, keepdims=True)
    given = given[:, None]
    share = below * divided(given, whole if rules == "attribution" else 2 * negative)
    return (above * divided(given, whole) + share).sum(2)


def residual(a, b, given, rules):
    first, second = a * given / (a + b), b * given / (a + b)
    if rules == "lrp":
        return first, second
    sizes = abs(first.sum()) + abs(second.sum())
    whole = given.sum()
    return (
        first * abs(first.sum()) / sizes * whole / first.sum(),
        second * abs(second.sum()) / sizes * whole / second.sum(),
    )


def written_out(image, params, config, direction, rules):
    """Relevance of the tokens [t w], of the patterns [l h q t] and of each patch's own embedding [p] of one image."""
    params = oracle.as_float64(params)
    x, kept, width = oracle.tokens(np.asarray(image, np.float64), params, config), [], config.width
    for layer in range(config.n_layers):
        block = oracle.layer_of(params["blocks"], layer)
        gamma_1, gamma_2 = block.get("ls_1", 1.0), block.get("ls_2", 1.0)
        y = oracle.norm(x, block["ln_1"], config.eps)
        kernel, bias = block["attn_in"]["kernel"], block["attn_in"]["bias"]
        q, k, v = np.einsum("tw,wxhc->xhtc", y, kernel) + bias[:, :, None]
        pattern = oracle.softmax(np.einsum("hqc,htc->hqt", q, k) / np.sqrt(config.head_dim))
        mixed = np.einsum("hqt,htc->qhc", pattern, v).reshape(-1, width)
        out = block["attn_out"]["kernel"].reshape(width, width) * gamma_1
        attended = mixed @ out + block["attn_out"]["bias"] * gamma_1
        middle = x + attended
        ready = oracle.norm(middle, block["ln_2"], config.eps)
        into, back = block["mlp_in"]["kernel"], block["mlp_out"]["kernel"] * gamma_2
        hidden = oracle.activation(ready @ into + block["mlp_in"]["bias"], config.activation)
        added = hidden @ back + block["mlp_out"]["bias"] * gamma_2
        kept.append((kernel, x, y, q, k, v, pattern, mixed, out, attended, middle, ready, into, hidden, back, added))
        x = middle + added
    z = x[:1] if config.pool == "class" else x[1:].mean(0, keepdims=True)
    weights = (params["projection"] @ np.asarray(direction, np.float64))[:, None]
    given = np.zeros_like(x)
    of_z = z_plus(oracle.norm(z, params["ln_post"], config.eps), weights, np.ones((1, 1)), rules)
    if config.pool == "class":
        given[:1] = of_z
    else:
        given[1:] = x[1:] / (len(x) - 1) / z * of_z
    patterns = []
    for kernel, x, y, q, k, v, pattern, mixed, out, attended, middle, ready, into, hidden, back, added in kept[::-1]:
        stays, given = residual(middle, added, given, rules)
        given = z_plus(ready, into, z_plus(hidden, back, given, rules), rules)
        stays, given = residual(x, attended, stays + given, rules)
        share = z_plus(mixed, out, given, rules) / mixed
        share = share.reshape(len(x), config.n_heads, -1).transpose(1, 0, 2)
        to_pattern = pattern * np.einsum("hqc,htc->hqt", share, v) / 2
        to_v = v * np.einsum("hqt,hqc->htc", pattern, share) / 2
        share = to_pattern / np.einsum("hqc,htc->hqt", q, k)
        to_q, to_k = q * (share @ k) / 2, k * (share.swapaxes(1, 2) @ q) / 2
        to_qkv = np.stack([to_q, to_k, to_v]).transpose(2, 0, 1, 3).reshape(len(x), -1)
        given = stays + z_plus(y, kernel.reshape(width, -1), to_qkv, rules)
        patterns.append(to_pattern)
    down, across = config.patch_size
    cut = np.asarray(image, np.float64).reshape(config.grid[0], down, config.grid[1], across, 3)
    patches = cut.transpose(0, 2, 1, 3, 4).reshape(-1, down * across * 3) @ params["patch_embedding"]
    own = (given[1:] * patches / (patches + params["positional_embedding"][1:])).sum(-1)
    return given, np.stack(patterns[::-1]), own


def everything(vision, images, directions):
    """All that is compared, as one program."""
    maps = {name: method(vision, images, directions) for name, method in relevance.RELEVANCE.items()}
    passed = {rules: relevance.propagate(vision, images, directions, rules) for rules in get_args(relevance.Rules)}
    return maps, passed, baselines.watch_gradients(vision, images, directions)[1]


@pytest.mark.parametrize("options", OPTIONS, ids=["class", "mean"])
def test_every_rule_is_the_papers_and_every_map_is_made_of_them(options, monkeypatch):
    # The same program in float64: relevance is divided by values that come near 0, and what float32 leaves of it would
    # not tell a right rule from a wrong one.
    compute = Compute()
    object.__setattr__(compute, "dtype", "float64")
    monkeypatch.setattr(jnp, "float32", jnp.float64)
    with jax.enable_x64(True):
        vision = towers.scaled(small.vision(compute, n_layers=2, **options))
        config, params = vision.config, towers.params(vision)
        images = towers.images(config).astype(np.float64)
        directions = np.random.default_rng(3).standard_normal((2, config.embed_dim))
        maps, passed, gradients = jax.tree.map(np.asarray, jax.jit(everything)(vision, images, directions))
    assert {x.dtype for x in jax.tree.leaves((maps, passed, gradients))} == {np.dtype(np.float64)}
    for i, image in enumerate(images):
        found = {rules: written_out(image, params, config, directions[i], rules) for rules in passed}
        for rules, (tokens, patterns, _) in found.items():
            close(passed[rules][0][i], tokens)
            close(passed[rules][1][:, i], patterns)
        assert found["attribution"][0].sum() == pytest.approx(1)
        _, patterns, own = found["lrp"]
        close(maps["LRP"][i].ravel(), own)
        close(maps["partial LRP"][i].ravel(), read(np.maximum(patterns[-1], 0).mean(0), config))
        product = np.eye(config.n_tokens)
        for one, slope in zip(found["attribution"][1], gradients[:, i], strict=True):
            product = (np.eye(config.n_tokens) + np.maximum(one * slope, 0).mean(0)) @ product
        close(maps["transformer attribution"][i].ravel(), read(product, config))


def close(ours, right):
    # Terms of either sign are far larger than some sums; rounding is relative to them.
    np.testing.assert_allclose(ours, right, rtol=0, atol=1e-7 * np.abs(right).max())


def test_depth_does_not_change_the_program():
    def program(depth):
        vision = small.vision(n_layers=depth)
        images = towers.images(vision.config)
        directions = np.ones((2, vision.config.embed_dim), np.float32)
        return len(relevance.transformer_attribution.lower(vision, images, directions).as_text())

    assert abs(program(24) / program(4) - 1) < 0.01


def test_in_float32_maps_are_finite_and_follow_the_direction():
    vision = small.vision(n_layers=2)
    images = towers.images(vision.config)[:1]
    directions = np.random.default_rng(3).standard_normal((2, vision.config.embed_dim)).astype(np.float32)
    maps = jax.jit(lambda *given: {name: method(*given) for name, method in relevance.RELEVANCE.items()})
    for heat, other in zip(*(maps(vision, images, directions[i : i + 1]).values() for i in range(2)), strict=True):
        assert heat.shape == (1, *vision.config.grid)
        assert bool(jnp.isfinite(heat).all())
        assert not np.allclose(heat, other)
