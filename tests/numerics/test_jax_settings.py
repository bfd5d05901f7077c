"""Settings of JAX that people have: each works, or one sentence names it."""

import contextlib
import os
import subprocess
import sys

import numpy as np
import pytest
import small


def jaxclip(*arguments, **settings):
    """A command in a process of its own, for JAX reads its environment once."""
    command = [sys.executable, "-m", "jaxclip", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"} | settings
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


COMMANDS = ["run scenes scenes --out", "heatmap no/such-model scenes/7 star --out", "convert no/such-model"]
NAMED = [("JAX_PLATFORMS", "nonsense"), ("JAX_PLATFORMS", "cpu,nonsense"), ("JAX_PLATFORM_NAME", "nonsense")]


@pytest.mark.parametrize(
    ("command", "named"), [*((command, NAMED[0]) for command in COMMANDS), *((COMMANDS[0], one) for one in NAMED[1:])]
)
def test_a_platform_that_is_not_there(named, command, tmp_path):
    name, value = named
    done = jaxclip(*command.split(), tmp_path / "out", **{name: value})
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"jaxclip: {name}={value} asks JAX for what it does not find here")
    assert not (tmp_path / "out").exists()


def test_a_platform_whose_plugin_says_nothing(monkeypatch):
    import jax

    from jaxclip.cli.surroundings import check_platform

    def devices():
        raise AssertionError

    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    monkeypatch.setattr(jax, "devices", devices)
    with pytest.raises(ValueError, match=r"JAX_PLATFORMS=cuda .*\(it has no plugin for it\)"):
        check_platform()


HOSTILE = {
    "JAX_ENABLE_X64": "1", "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_TRANSFER_GUARD": "disallow_explicit", "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": "disallow",
    "JAX_DEBUG_NANS": "1", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16", "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
}  # fmt: skip


def test_a_command_calculates_the_same_under_every_setting_and_keeps_its_programs(tmp_path):
    command = ["heatmap", "scenes", "scenes/7", "a star", "a circle", "--heads", "4.1", "--out"]
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}
    for folder, settings in (("plain", {}), ("hostile", HOSTILE | kept)):
        environment = {name: value for name, value in os.environ.items() if "MIN_COMPILE" not in name} | settings
        line = [sys.executable, "-m", "jaxclip", *command, str(tmp_path / folder)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stderr
    files = {path.name for path in (tmp_path / "plain").iterdir()}
    assert "results.json" in files
    for name in files:
        plain, hostile = ((tmp_path / folder / name).read_bytes() for folder in ("plain", "hostile"))
        assert plain.replace(b"/plain", b"") == hostile.replace(b"/hostile", b""), name
    # The small model's programs compile in less than the second that JAX itself waits for.
    assert len([path for path in (tmp_path / "cache").iterdir() if path.name.startswith("jit__text_maps")]) >= 1


def forbidden():
    """What a researcher may set for a whole session."""
    import jax

    stack = contextlib.ExitStack()
    stack.enter_context(jax.numpy_rank_promotion("raise"))
    stack.enter_context(jax.transfer_guard("disallow"))
    return stack


def test_public_functions_work_where_promotion_and_transfers_are_forbidden(tmp_path):
    import jax

    from jaxclip import Moments, load, textspan
    from jaxclip.analyses.direct_effects import direct_effects, text_directions
    from jaxclip.zeroshot import class_embeddings, contrast

    clip = load(small.export(tmp_path / "small"))
    picture = np.random.default_rng(0).integers(0, 256, (2, 60, 70, 3), dtype=np.uint8)
    words = ["a star", "a circle"]

    def everything():
        images = clip.preprocess(picture)
        embedding, contributions = clip.vision(images, detail="head")
        texts = clip.encode_text(words, normalize=True)
        effects = contributions.normalized().project(contrast(texts))
        maps = clip.vision.map(images, texts)
        samples = np.random.default_rng(1).standard_normal((20, 24)).astype(np.float32)
        span = textspan(Moments.of(samples).merge(Moments.of(samples[:5])), samples[:6], steps=3)
        one = direct_effects(clip, images[0], text_directions(clip, words, relative=True))
        classes = class_embeddings(clip, [["a star", "one star"], ["a circle"]])
        found = embedding, contributions.total(), effects.attn, effects.reduce("layer").mean().mlp, maps, span.indices
        rest = span.coefficients(samples), span.reconstruct(samples), one.heads, classes, clip.encode_image(picture)
        return *found, *rest, Moments.of(samples).covariance, contributions.check(embedding)

    plain = jax.device_get(everything())
    with forbidden():
        result = everything()
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            jax.jit(lambda x: x)(picture)
    jax.tree.map(np.testing.assert_array_equal, plain, jax.device_get(result))
