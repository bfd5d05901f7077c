"""What an installation holds: the whole library with its data, and no import name but `jaxclip`."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> set[str]:
    """The paths in a wheel built from a copy of the checkout."""
    pytest.importorskip("setuptools", minversion="77", reason="building a wheel here needs setuptools")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("jaxclip", "convert"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    build = "import setuptools.build_meta as b, sys; b.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_only_jaxclip_is_claimed(installed):
    assert {path.split("/")[0] for path in installed if ".dist-info/" not in path} == {"jaxclip"}


def test_every_file_of_the_library_is_installed(installed):
    tracked = [path for name in ("jaxclip", "convert") for path in (ROOT / name).rglob("*") if path.is_file()]
    for path in tracked:
        if "__pycache__" not in path.parts:
            inside = path.relative_to(ROOT).as_posix()
            inside = inside if inside.startswith("jaxclip/") else f"jaxclip/{inside}"
            assert inside in installed


def test_neither_torch_nor_tensorflow_nor_an_upper_bound_is_asked_for():
    project = PROJECT["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    everything = [requirement for group in groups for requirement in group]
    names = {requirement.split(">")[0].split("[")[0].strip() for requirement in everything}
    assert not names & {"torch", "tensorflow", "torchvision", "open_clip_torch"}
    assert not [requirement for requirement in everything if "<" in requirement or "==" in requirement]
