"""Pipes, devices and links to them in the place of any file are refused by name at once, and never waited for.

A reader that waits for a pipe in native code cannot be interrupted: after a minute the process is ended and says where.
"""

import faulthandler
import os
import shutil
import socket

import numpy as np
import pytest
import small
import small_pass
from parity import checkpoints
from PIL import Image
from test_fuzz_runs import read_all

import jaxclip
from jaxclip import convert
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.data.open_data import open_data
from jaxclip.data.text_pools import read_pool
from jaxclip.files.strict_json import read_object
from jaxclip.report.html.build import read_results
from jaxclip.runs.run_pass import run_pass
from jaxclip.runs.task import read_lines

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's pipes")


def pipe(path):
    os.mkfifo(path)


def endless(path):
    path.symlink_to("/dev/zero")


def device(path):
    path.symlink_to("/dev/null")


def listening(path):
    here = os.getcwd()
    os.chdir(path.parent)  # its own path may be longer than a socket's name can be
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def circle(path):
    path.symlink_to(path.name)


ONCE = ("pipe", "circle")
"""Kinds that stand for the others where each takes a while: what has to be waited for, and what leads nowhere."""
KINDS = {"pipe": pipe, "link to /dev/zero": endless, "link to /dev/null": device, "socket": listening, "circle": circle}
OFTEN = [pytest.param(kind, marks=[pytest.mark.nightly] * (kind not in ONCE)) for kind in KINDS]


@pytest.fixture(autouse=True)
def impatient():
    faulthandler.dump_traceback_later(60, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def everything_of(folder):
    """What commands take from a run, and each image's norm."""
    read_all(folder)
    jaxclip.open_run(folder).bank.read("norm")


def refused(read, folder, name, kind, *more):
    """Put something of a kind in a file's place: reading says its name."""
    path, kept = folder / name, folder.with_name("kept")
    path.rename(kept)
    KINDS[kind](path)
    try:
        read(*more)
    except (ValueError, OSError) as error:
        said = str(error)
    else:
        pytest.fail(f"{name} was read")
    finally:
        path.unlink()
        kept.rename(path)
    assert path.name in said, said
    words = ("nowhere", "no such file", "symbolic links") if kind == "circle" else ("pipe", "device", "socket")
    assert any(word in said for word in words), said


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp()).folder


@pytest.mark.parametrize("kind", OFTEN)
def test_every_file_of_a_run(run, tmp_path, kind):
    names = [name for name in files_in(run) if not name.endswith(".lock") and name != "stamps.npy"]
    blocks = [name for name in names if name.startswith("bank/") and not name.endswith("zarr.json")]
    copy = shutil.copytree(run, tmp_path / "run")
    for name in [one for one in names if one not in blocks] + blocks[:3]:
        refused(everything_of, copy, name, kind, copy)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["run.json", "state.npz", "matrices.npy", "images.jsonl", ".lock", "stamps.npy"])
def test_a_pass_goes_on_with_no_such_file(run, tmp_path, tmp_path_factory, kind, name):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / name).unlink(missing_ok=True)
    KINDS[kind](copy / name)
    data = open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))
    with pytest.raises((ValueError, OSError), match=name.replace(".", r"\.")):
        run_pass(small_pass.clip(), data, copy, small_pass.EVERYTHING)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("special")
    source = small.export_two_layers(folder / "source")
    return convert.convert(source, folder / "model")


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_converted_model(model, tmp_path, kind):
    copy = shutil.copytree(model, tmp_path / "model")
    for name in files_in(model):
        if name == "README.md":
            continue
        refused(jaxclip.load, copy, name, kind, copy)


@pytest.mark.parametrize("kind", OFTEN)
@pytest.mark.parametrize("layout", ["openclip", "huggingface", "pickle"])
def test_every_file_of_a_checkpoint(tmp_path, kind, layout):
    if layout == "huggingface":
        pytest.importorskip("transformers")
        folder = tmp_path / "source"
        checkpoints.make_hf(folder)
        names = ["config.json", "model.safetensors", "preprocessor_config.json"]
    else:
        folder = small.export_two_layers(tmp_path / "source")
        names = ["open_clip_config.json", "open_clip_model.safetensors"]
    if layout == "pickle":
        (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
        names = ["open_clip_pytorch_model.bin"]
    for name in names:
        refused(convert.read, folder, name, kind, folder)


@pytest.mark.parametrize("kind", KINDS)
def test_lists_pools_classes_results_and_masks(tmp_path, kind):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    readers = {
        "list.csv": open_data, "list.txt": open_data, "list.tsv": open_data, "pool.txt": read_pool,
        "pool.npy": read_pool, "classes.txt": read_lines, "results.json": read_object,
        "picture.png": lambda path: open_masked(path)[0],
    }  # fmt: skip
    for name, read in readers.items():
        (tmp_path / name).touch()
        more = (tmp_path / name, "make it again") if read is read_object else (tmp_path / name,)
        refused(read, tmp_path, name, kind, *more)
    made = tmp_path / "made"
    made.mkdir()
    (made / "results.json").touch()
    refused(read_results, made, "results.json", kind, made)
