"""The parts sum to the whole, and each part is the one the paper means."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
import towers
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxclip.config import Compute
from jaxclip.model.contributions import Constants, Contributions, Detail
from jaxclip.model.head_coordinates import head_state

DETAILS, CONSTANTS = get_args(Detail), get_args(Constants)
OPTIONS = [
    {},
    {"activation": "quick_gelu", "ln_pre": False, "pool": "mean"},
    {"activation": "gelu_tanh", "layer_scale": True, "n_heads": 2},
    {"pool": "mean", "layer_scale": True},
]


def relative(a, b):
    """Largest error relative to the largest norm of a row of b."""
    return float(np.abs(np.asarray(a) - np.asarray(b)).max() / np.linalg.norm(np.asarray(b), axis=-1).max())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("constants", CONSTANTS)
def test_every_contribution_is_the_papers(options, constants):
    vision = towers.vision(**options)
    images = towers.images(vision.config)
    embedding, contributions = vision(images, constants=constants)
    for i, image in enumerate(images):
        expected = oracle.decompose(image, towers.params(vision), vision.config, constants)
        norm = np.linalg.norm(expected[0])
        ours = (embedding, contributions.init, contributions.attn, contributions.mlp, contributions.constant)
        for name, mine, theirs in zip(("embedding", "init", "attn", "mlp", "constant"), ours, expected, strict=True):
            assert np.abs(np.asarray(mine[i], np.float64) - theirs).max() < 1e-6 * norm, name


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("detail", DETAILS)
def test_the_parts_sum_to_the_whole(options, constants, detail):
    vision = towers.vision(**options)
    images = towers.images(vision.config)
    embedding, contributions = vision(images, detail=detail, constants=constants)
    assert relative(contributions.total(), embedding) < 1e-6
    assert relative(vision.embed(images), embedding) == 0
    full = vision(images, constants=constants)[1]
    reduced = full.reduce(detail)
    assert reduced.attn.shape == contributions.attn.shape
    assert relative(reduced.attn, contributions.attn) < 1e-5
    assert relative(reduced.total(), embedding) < 1e-6


# The same towers every time, so that their programs are there from the last; others at night.
@settings(max_examples=6, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_tower_sums(data):
    tower_sums(data.draw)


@pytest.mark.nightly
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_of_many_towers_sums(data):
    tower_sums(data.draw)


def tower_sums(draw):
    n_heads, head_dim = draw(st.integers(1, 4)), draw(st.integers(8, 19))
    patch = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    vision = towers.vision(
        seed=draw(st.integers(0, 99)),
        image_size=(patch[0] * draw(st.integers(1, 4)) + draw(st.integers(0, patch[0] - 1)), patch[1] * 2),
        patch_size=patch,
        width=n_heads * head_dim,
        n_heads=n_heads,
        n_layers=draw(st.integers(1, 4)),
        mlp_dim=draw(st.integers(1, 40)),
        embed_dim=draw(st.integers(2, 20)),
        activation=draw(st.sampled_from(["gelu", "quick_gelu", "gelu_tanh"])),
        pool=draw(st.sampled_from(["class", "mean"])),
        ln_pre=draw(st.booleans()),
        layer_scale=draw(st.booleans()),
    )
    images = towers.images(vision.config)
    embedding, contributions = vision(
        images, detail=draw(st.sampled_from(DETAILS)), constants=draw(st.sampled_from(CONSTANTS))
    )
    expected = oracle.decompose(images[0], towers.params(vision), vision.config)[0]
    assert relative(contributions.total(), embedding) < 1e-6
    # A patch of few pixels can have a small variance, and ln_pre magnifies its float32 rounding; the sum is unaffected.
    assert np.abs(np.asarray(embedding[0]) - expected).max() < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("options", OPTIONS)
def test_masks_ablate_the_forward_pass_itself(options):
    vision = towers.vision(**options)
    config = vision.config
    images = towers.images(config)
    rng = np.random.default_rng(0)
    # Weights of any size, not 0 and 1 alone: applied twice, those would look applied once.
    heads = rng.uniform(-0.5, 1.5, (config.n_layers, config.n_heads)).astype(np.float32)
    heads[0, :2] = 0, 1
    mlps = np.array([0.3, 0, 1.7], np.float32)
    tokens = rng.integers(0, 2, (2, config.n_tokens)).astype(bool)
    tokens[:, :2] = True
    embedding, contributions = vision(images, heads=heads, mlps=mlps, tokens=tokens)
    for i, image in enumerate(images):
        expected = oracle.decompose(
            image, towers.params(vision), config, heads=heads, mlps=mlps, visible=tokens[i]
        )  # fmt: skip
        norm = np.linalg.norm(expected[0])
        assert np.abs(np.asarray(embedding[i]) - expected[0]).max() < 1e-6 * norm
        assert np.abs(np.asarray(contributions.attn[i]) - expected[2]).max() < 1e-6 * norm
        assert np.abs(np.asarray(contributions.mlp[i]) - expected[3]).max() < 1e-6 * norm
    assert relative(contributions.total(), embedding) < 1e-6


def test_sweeping_ablations_is_a_vmap():
    vision = towers.vision()
    images = towers.images(vision.config)
    shape = (vision.config.n_layers, vision.config.n_heads)
    masks = 1 - jnp.eye(shape[0] * shape[1]).reshape(-1, *shape)
    swept = jax.vmap(lambda heads: vision.embed(images, heads=heads))(masks)
    one_by_one = jnp.stack([vision.embed(images, heads=mask) for mask in masks])
    assert relative(swept, one_by_one) < 1e-5
    assert relative(vision.embed(images, heads=jnp.ones(shape)), vision.embed(images)) < 1e-6


def test_the_module_is_a_pytree_through_jit_grad_and_vmap():
    vision = towers.vision()
    images = towers.images(vision.config)
    embedding, contributions = vision(images, detail="head")
    jitted = jax.jit(lambda vision, images: vision(images, detail="head"))(vision, images)
    assert isinstance(jitted[1], Contributions)
    assert relative(jitted[0], embedding) < 1e-6
    one = jax.vmap(lambda image: vision(image[None], detail="head")[1].attn[0])(jnp.asarray(images))
    assert relative(one, contributions.attn) < 1e-6

    def head(vision, images):
        return vision(images, detail="head")[1].attn[:, 1, 2].sum()

    gradient = jax.grad(head)(vision, images)
    assert jax.tree.structure(gradient) == jax.tree.structure(vision)
    # A later layer cannot change what an earlier head writes, except through the final LayerNorm's statistics.
    assert float(jnp.abs(gradient.patch_embedding[...]).max()) > 0
    step = 1e-2 * jax.random.normal(jax.random.key(0), images.shape)
    slope = jnp.vdot(jax.grad(head, argnums=1)(vision, images), step)
    difference = (head(vision, images + step / 2) - head(vision, images - step / 2)) / 1
    assert abs(float(slope - difference)) < 2e-3 * abs(float(difference)) + 1e-5


def test_a_second_call_does_not_retrace():
    vision = towers.vision()
    images = towers.images(vision.config)
    vision(images, detail="head")
    with jax.log_compiles(False), jax.checking_leaks():
        from jaxclip.model.vision import _decompose

        before = _decompose._cache_size()
        vision(images + 1, detail="head")
        towers.vision(seed=5)(images, detail="head")
        assert _decompose._cache_size() == before


@pytest.mark.parametrize("detail", DETAILS)
def test_depth_does_not_change_the_program(detail):
    def program(depth):
        vision = towers.vision(n_layers=depth)
        images = towers.images(vision.config)
        return len(jax.jit(lambda v, x: v(x, detail=detail)).lower(vision, images).as_text())

    assert abs(program(24) / program(4) - 1) < 0.01


@pytest.mark.parametrize("detail", ["head", "token", "layer"])
def test_a_lower_detail_never_builds_the_higher_one(detail):
    vision = towers.vision(image_size=(96, 64), patch_size=(4, 4), embed_dim=96)
    images = towers.images(vision.config, batch=4)
    passes = {d: lambda v, x, d=d: v(x, detail=d) for d in (detail, "full")} | {"plain": lambda v, x: v.embed(x)}
    memory = {d: jax.jit(run).lower(vision, images).compile().memory_analysis() for d, run in passes.items()}
    full_bytes = 4 * np.prod(vision(images[:1])[1].attn.shape) * 4
    assert memory["full"].output_size_in_bytes > full_bytes
    # What the plain pass takes is not the detail's, and jaxlib before 0.10 counts three times as much for it.
    taken = memory[detail].temp_size_in_bytes - memory["plain"].temp_size_in_bytes
    assert taken + memory[detail].output_size_in_bytes < full_bytes


def test_bfloat16_keeps_the_sum_exact():
    exact = towers.vision()
    vision = towers.vision(compute=Compute(dtype="bfloat16"))
    images = towers.images(vision.config)
    for detail in DETAILS:
        embedding, contributions = vision(images, detail=detail)
        assert contributions.attn.dtype == embedding.dtype == jnp.float32
        assert relative(contributions.total(), embedding) < 1e-6
    # Eight bits of mantissa through three layers.
    assert 1e-5 < relative(embedding, exact.embed(images)) < 3e-2


def test_no_shortened_product_stands_between_the_terms_and_their_sum():
    """Where hardware cuts float32 products short, decomposing adds none of those to the plain pass; CPUs have none."""
    vision = towers.vision(compute=Compute(precision="tensorfloat32"))
    images = jnp.asarray(towers.images(vision.config))
    texts = jnp.ones((3, vision.config.embed_dim))

    def short(run):
        text = jax.jit(run).lower(vision, images).as_text()
        return [line.count("HIGHEST") for line in text.splitlines() if "dot_general" in line].count(0)

    plain = short(lambda v, x: v.embed(x))
    assert plain == 8  # patches; queries, keys and values; two patterns and what they mix; the way out; the MLP's two
    for detail in DETAILS:
        assert short(lambda v, x, detail=detail: v(x, detail=detail)) == plain
    assert short(head_state) == plain
    for each in (False, True):
        assert short(lambda v, x, each=each: v.map(x, texts, each=each)) == plain


def test_normalized_and_projected_terms_sum_too():
    vision = towers.vision()
    images = towers.images(vision.config)
    embedding, contributions = vision(images, detail="head")
    unit = np.asarray(embedding) / np.linalg.norm(embedding, axis=-1, keepdims=True)
    assert relative(contributions.normalized().total(), unit) < 1e-6
    texts = np.random.default_rng(1).standard_normal((5, vision.config.embed_dim)).astype(np.float32)
    assert relative(contributions.project(texts).total(), np.asarray(embedding) @ texts.T) < 1e-5
    assert relative(contributions.mean().total()[None], np.asarray(embedding).mean(0)[None]) < 1e-6


def test_bad_calls_say_what_to_do(unchecked):
    vision = towers.vision()
    images = towers.images(vision.config)
    with pytest.raises(ValueError, match=r"channel axis comes last"):
        vision(images.transpose(0, 3, 1, 2))
    with pytest.raises(ValueError, match=r"images must be \[batch, 48, 32, 3\]; got \[48, 32, 3\]"):
        vision(images[0])
    with pytest.raises(ValueError, match=r"normalised floats; got uint8"):
        vision(images.astype(np.uint8))
    with pytest.raises(ValueError, match=r"detail must be one of full, head, token, layer; got 'heads'"):
        vision(images, detail="heads")
    with pytest.raises(ValueError, match=r"mask heads must have shape \(3, 4\); got \(4, 3\)"):
        vision(images, heads=np.ones((4, 3)))
    with pytest.raises(ValueError, match=r"'layer' cannot become 'head'"):
        vision(images, detail="layer")[1].reduce("head")
