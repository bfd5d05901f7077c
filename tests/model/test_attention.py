"""Rows whose pattern nobody reads may be mixed by one kernel: same numbers, and on a GPU no pattern in memory."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import towers

from jaxclip.config import Compute
from jaxclip.model import attention as fused
from jaxclip.model import blocks
from jaxclip.model.forward import Masks, forward
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.step import step

KERNEL = "__cudnn$fmhaSoftmax"


@pytest.fixture(autouse=True)
def full_products():
    """JAX's own attention multiplies float32 in fewer bits on a GPU unless it is told not to."""
    with jax.default_matmul_precision("highest"):
        yield


def test_mixed_values_are_the_softmax_over_tokens_times_the_values():
    rng = np.random.default_rng(0)
    q, k, v = rng.standard_normal((3, 2, 4, 7, 8))
    logits = np.einsum("bhqc,bhtc->bhqt", q, k) / np.sqrt(8)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    expected = np.einsum("bhqt,bhtc->bhqc", weights / weights.sum(-1, keepdims=True), v)
    found = fused.mix(*jnp.float32([q, k, v]), implementation="xla")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("detail", ["full", "head", "token", "layer"])
@pytest.mark.parametrize("pool", ["class", "mean"])
def test_the_pooled_row_by_itself_and_the_rest_fused_are_the_plain_pass(monkeypatch, pool, detail):
    vision = towers.vision(pool=pool)
    images, g = jnp.asarray(towers.images(vision.config)), vision.readout().linear("spread")
    plain = forward(vision, images, detail=detail, g=g)
    used = []

    def attend(q, k, v, mask, compute):
        used.append(mask)
        return fused.mix(q, k, v, implementation="xla")

    monkeypatch.setattr(blocks, "attend", attend)
    split = forward(vision, images, detail=detail, g=g)
    assert used
    for own, expected in zip(jax.tree.leaves(split), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture
def nvidia(monkeypatch):
    """Programs are traced as on a machine with an NVIDIA GPU, though there is none."""
    inside = pytest.importorskip("jax._src.cudnn.fused_attention_stablehlo", reason="JAX keeps it elsewhere")
    monkeypatch.setattr(fused, "has_kernel", lambda: True)
    monkeypatch.setattr(inside, "check_cudnn_version", lambda: 91000)


def program(vision, platform, masks=Masks(), detail="head"):
    """The text of a forward pass for a platform that need not be here; and whether it holds a pattern of all rows."""
    images, config = towers.images(vision.config), vision.config
    unchecked = [jax.export.DisabledSafetyCheck.custom_call(KERNEL)]
    run = jax.jit(lambda vision, images: forward(vision, images, masks, detail))
    text = jax.export.export(run, platforms=[platform], disabled_checks=unchecked)(vision, images).mlir_module()
    return text, bool(re.search(rf"<{len(images)}x{config.n_heads}x{config.n_tokens}x{config.n_tokens}x", text))


def half(attention="auto", dtype="bfloat16", **changes):
    return towers.vision(compute=Compute(dtype=dtype, attention=attention), **{"width": 64} | changes)


@pytest.mark.parametrize("detail", [None, "full", "head", "layer"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_on_a_gpu_in_half_precision_the_pattern_of_all_rows_is_never_an_array(nvidia, dtype, detail):
    text, whole = program(half(dtype=dtype), "cuda", detail=detail)
    assert KERNEL in text
    assert not whole


def test_everywhere_else_attention_is_explicit(nvidia, monkeypatch):
    seen = jnp.ones(towers.vision().config.n_tokens, bool)[None]
    for vision, platform, masks in (
        (half(), "cpu", Masks()), (half(), "tpu", Masks()), (half(dtype="float32"), "cuda", Masks()),
        (half("plain"), "cuda", Masks()), (half(), "cuda", Masks(tokens=seen)), (half(width=48), "cuda", Masks()),
        (half(pool="mean"), "cuda", Masks()),
    ):  # fmt: skip
        text, whole = program(vision, platform, masks)
        assert KERNEL not in text
        assert whole
    monkeypatch.setattr(fused, "has_kernel", lambda: False)
    assert KERNEL not in program(half(), "cuda")[0]


def test_a_sweep_goes_through_the_kernel_and_its_derivative_is_the_explicit_form(nvidia):
    vision = half()
    images = jnp.asarray(towers.images(vision.config))
    masks = jnp.ones((5, vision.config.n_layers, vision.config.n_heads))

    def sweep(images):
        return jax.vmap(lambda heads: forward(vision, images, Masks(heads=heads)).z)(masks).sum()

    def lowered(function):
        unchecked = [jax.export.DisabledSafetyCheck.custom_call(KERNEL)]
        return jax.export.export(jax.jit(function), platforms=["cuda"], disabled_checks=unchecked)(images).mlir_module()

    assert vision.config.n_tokens % 2
    assert KERNEL in lowered(sweep)
    for derivative in (jax.grad(sweep), lambda images: jax.jvp(sweep, (images,), (images,))[1]):
        assert "cudnn" not in lowered(derivative)


def test_a_pass_goes_through_the_kernel_as_well(nvidia):
    vision = half()
    images = jnp.asarray(towers.images(vision.config))
    leaves, tree = jax.tree.flatten(({"all": Collected.zero(vision.config)}, vision, images, jnp.ones(len(images)), {}))
    unchecked = [jax.export.DisabledSafetyCheck.custom_call(KERNEL)]
    run = jax.jit(lambda *leaves: step(*jax.tree.unflatten(tree, leaves), "normalized")[1].embedding)
    text = jax.export.export(run, platforms=["cuda"], disabled_checks=unchecked)(*leaves).mlir_module()
    assert KERNEL in text


@pytest.mark.parametrize(("platform", "capability", "expected"), [
    ("gpu", "9.0", True), ("gpu", "8.6", True), ("gpu", "12.0", True), ("gpu", "7.5", False), ("gpu", "gfx942", False),
    ("cpu", None, False), ("tpu", None, False),
])  # fmt: skip
def test_which_devices_have_the_kernel(monkeypatch, platform, capability, expected):
    device = type("Device", (), {"platform": platform, "compute_capability": capability})()
    monkeypatch.setattr(fused.jax, "devices", lambda: [device])
    assert fused.has_kernel() is expected


def test_the_choice_is_by_name(unchecked):
    with pytest.raises(ValueError, match="attention must be one of auto, plain"):
        Compute(attention="flash")
