"""A run's folder opened again: what it says of itself, and what is said where it is damaged or holds too little."""

import json
import shutil

import jax
import pytest
import small_pass
from small_pass import BATCH

import jaxclip
from jaxclip.data.sources import open_data
from jaxclip.passes import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return small_pass.clip()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp())


def test_the_record_says_what_ran(run, source):
    info = json.loads((run.folder / "run.json").read_text())
    assert info["data"]["fingerprint"] == source.fingerprint()
    assert len(info["model"]["hash"]) == 64
    assert info["versions"]["jax"] == jax.__version__
    assert info["options"]["batch"] == BATCH


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run.folder, tmp_path / "copy")


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no run"):
        jaxclip.open_run(tmp_path)


def test_a_bank_cut_short(copy):
    for file in (copy / "bank" / "mlp").rglob("0"):
        if file.is_file():
            file.unlink()
    with pytest.raises(ValueError, match="mlp is cut short: 19 images are missing"):
        jaxclip.open_run(copy).bank.read("mlp")


def test_a_damaged_bank(copy):
    file = max((path for path in (copy / "bank" / "heads" / "c").rglob("*")), key=lambda p: p.stat().st_size)
    held = bytearray(file.read_bytes())
    held[1000] ^= 1
    file.write_bytes(held)
    with pytest.raises(ValueError, match="heads is damaged"):
        jaxclip.open_run(copy).bank.read("heads")


@pytest.mark.parametrize("name", ["state.npz", "images.jsonl", "run.json"])
def test_a_file_cut_short(copy, name):
    held = (copy / name).read_bytes()
    (copy / name).write_bytes(held[: len(held) // 2])
    with pytest.raises(ValueError, match="run it again"):
        jaxclip.open_run(copy)


def test_what_was_not_kept(clip, source, tmp_path):
    run = run_pass(clip, source, tmp_path / "run", PassOptions(batch=BATCH))
    with pytest.raises(FileNotFoundError, match="--bank"):
        run.bank.read("mlp")
    with pytest.raises(ValueError, match="has moments by none, not by 'label'"):
        run.moments_by("label", 0)


def test_a_value_that_is_not_there(run):
    for value in ("c", 2, -1):
        with pytest.raises(ValueError, match="group has the values a, b; got"):
            run.moments_by("group", value)


def test_a_head_that_is_not_there(run):
    with pytest.raises(ValueError, match=r"layers 0 to 2 of 4 heads; got head 3\.0"):
        run.bank.head(3, 0)
