"""Settings of JAX that people have: each works, or one sentence names it."""

import os
import subprocess
import sys

import pytest


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

    from jaxclip.commands.surroundings import check_platform

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
