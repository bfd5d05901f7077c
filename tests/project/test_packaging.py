"""What an installation holds: the whole library with its data, its licences, and no import name but `jaxclip`."""

import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def build(kind, source, out):
    """A wheel or an sdist of a folder, by setuptools itself and without the network."""
    code = f"import setuptools.build_meta as b, sys; b.build_{kind}(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return built


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of what is versioned and goes into a package, so that building leaves nothing in the checkout."""
    pytest.importorskip("setuptools", minversion="77", reason="building a wheel here needs setuptools")
    source = tmp_path_factory.mktemp("source")
    for name in ("jaxclip", "convert", "tests", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source / name)
    return source


@pytest.fixture(scope="module")
def wheel(checkout, tmp_path_factory):
    return build("wheel", checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as file:
        return set(file.namelist())


@pytest.fixture(scope="module")
def unpacked(checkout, tmp_path_factory):
    """The folder inside an sdist."""
    out = tmp_path_factory.mktemp("sdist")
    with tarfile.open(build("sdist", checkout, out)) as file:
        file.extractall(out, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return next(path for path in out.iterdir() if path.is_dir())


def test_only_jaxclip_is_claimed(installed):
    assert {path.split("/")[0] for path in installed if ".dist-info/" not in path} == {"jaxclip"}


def test_every_file_of_the_library_is_installed_and_nothing_else(installed):
    files = [path for name in ("jaxclip", "convert") for path in (ROOT / name).rglob("*") if path.is_file()]
    names = {path.relative_to(ROOT).as_posix() for path in files if "__pycache__" not in path.parts}
    expected = {name if name.startswith("jaxclip/") else f"jaxclip/{name}" for name in names}
    assert {path for path in installed if ".dist-info/" not in path} == expected


def test_the_wheel_is_small_and_carries_every_licence(wheel, installed):
    assert wheel.stat().st_size < 20 * 2**20
    carried = {path.split("/licenses/")[1] for path in installed if "/licenses/" in path}
    assert carried == set(PROJECT["license-files"])


def test_the_sdist_builds_the_same_wheel_and_holds_no_tests_data(unpacked, installed, tmp_path):
    with zipfile.ZipFile(build("wheel", unpacked, tmp_path)) as file:
        assert set(file.namelist()) == installed
    top = {path.relative_to(unpacked).parts[0] for path in unpacked.rglob("*") if path.is_file()}
    assert {"jaxclip", "convert", "pyproject.toml", "README.md", "LICENSE", "NOTICE"} <= top
    assert sum(path.stat().st_size for path in unpacked.rglob("*") if path.is_file()) < 30 * 2**20


def test_neither_torch_nor_tensorflow_nor_an_upper_bound_is_asked_for():
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    everything = [requirement for group in groups for requirement in group]
    names = {requirement.split(">")[0].split("[")[0].strip() for requirement in everything}
    assert not names & {"torch", "tensorflow", "torchvision", "open_clip_torch"}
    assert not [requirement for requirement in everything if "<" in requirement or "==" in requirement]


@pytest.mark.nightly
def test_the_wheel_alone_runs_the_demo(wheel, tmp_path):
    """In an empty environment, away from the checkout: what `pip install jaxclip` gives is enough."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "env"], check=True, timeout=300)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True, timeout=1800)
    (tmp_path / "here").mkdir()
    done = subprocess.run(
        [python.with_name("jaxclip"), "demo"], cwd=tmp_path / "here", capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "here" / "demo_out" / "results.json").is_file()
    listed = subprocess.run(
        [python, "-m", "pip", "list"], capture_output=True, text=True, timeout=300, check=True
    ).stdout
    assert not {"torch", "tensorflow"} & {line.split()[0] for line in listed.splitlines() if line.strip()}
