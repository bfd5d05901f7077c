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


@pytest.mark.parametrize(("name", "value"), [("JAX_PLATFORMS", "nonsense"), ("JAX_PLATFORMS", "cpu,nonsense"),
                                             ("JAX_PLATFORM_NAME", "nonsense")])  # fmt: skip
@pytest.mark.parametrize(
    "command", ["run scenes scenes", "heatmap no/such-model scenes/7 star", "convert no/such-model"]
)
def test_a_platform_that_is_not_there(name, value, command, tmp_path):
    done = jaxclip(*command.split(), "--out", tmp_path / "out", **{name: value})
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
