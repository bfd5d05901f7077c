"""A run's folder opened again: what it says of itself, and what is said where it is damaged or holds too little."""

import json
import re
import shutil

import command
import jax
import numpy as np
import pytest
import small_pass
from small_pass import BATCH

import jaxclip
from jaxclip.data.open_data import open_data
from jaxclip.runs.run_pass import PassOptions, run_pass


@pytest.fixture(scope="module")
def clip():
    return small_pass.clip()


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return small_pass.run(tmp_path_factory.getbasetemp())


def test_a_folder_may_be_named_by_way_of_another(clip, source, run, tmp_path):
    (tmp_path / "other").mkdir()
    roundabout = run_pass(clip, source, tmp_path / "other" / ".." / "run", small_pass.EVERYTHING)
    again = jaxclip.open_run(tmp_path / "other" / ".." / "run")
    for opened in (roundabout, again):
        np.testing.assert_array_equal(opened.bank.read("embedding"), run.bank.read("embedding"))


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


def read_all(folder):
    """Everything a run has to say, as arrays and text."""
    run = jaxclip.open_run(folder)
    said = [run.names, run.unreadable, run.info, *jax.tree.leaves((run.moments, run.state.moments, run.matrices))]
    said += [run.bank.read(name, run.rows) for name in ("heads", "mlp", "class_attn", "init", "embedding", "norm")]
    return said + [values for kind in run.labels for values in (run.labels[kind], run.bank.labels(kind))]


def error_of(folder, said):
    """What is said of a run that is not what it was; None where it still says the same."""
    try:
        now = read_all(folder)
    except ValueError as error:
        return str(error)
    assert all(np.array_equal(one, two) for one, two in zip(now, said, strict=True))
    return None


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("model", {"name": 3}), ("model", {"hash": None}), ("model", {"compute": {"dtype": "int8"}}),
        ("model", {"compute": [1]}), ("options", {"bank": "yes"}), ("versions", {"jax": [1]}), (None, {"device": {}}),
        (None, {"versions": "1.2"}),
    ],
)  # fmt: skip
def test_what_a_run_says_of_itself_is_of_its_kind(run, tmp_path, part, said):
    """Somebody else's run may say anything and have checksums for it."""
    info = json.loads((run.folder / "run.json").read_text())
    whole = {} if part is None else {part: info[part] | said}
    folder = command.with_info(run.folder, tmp_path / "run", "data")
    command.say(folder, info | (said if part is None else whole))
    with pytest.raises(ValueError, match=r"run\.json is damaged \(it does not say all of a run\)"):
        jaxclip.open_run(folder)


FILES = [
    "run.json", "images.jsonl", "matrices.npy", "state.npz", "bank/zarr.json", "bank/heads/zarr.json",
    "bank/readable/zarr.json", "bank/labels/group/zarr.json", "bank/heads/c/0/0/0/0", "bank/mlp/c/0/0/0",
    "bank/class_attn/c/0/0/0", "bank/init/c/0/0", "bank/embedding/c/0/0", "bank/norm/c/0", "bank/readable/c/0",
    "bank/labels/label/c/0",
]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_one_bit_of_any_file(copy, name):
    """Found out, and the file is named; or it is one of the bytes of a zip archive that say nothing."""
    path, rng, found = copy / name, np.random.default_rng(0), 0
    whole, said = path.read_bytes(), read_all(copy)
    for at in rng.integers(len(whole), size=12):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.integers(8)]) + whole[at + 1 :])
        error = error_of(copy, said)
        found += error is not None
        assert error is None or (f"{path} is damaged" in error and "\n" not in error)
    assert found == 12 or (name == "state.npz" and found >= 10)


@pytest.mark.parametrize("name", FILES)
def test_any_file_that_is_not_there(copy, name):
    (copy / name).unlink()
    with pytest.raises((ValueError, FileNotFoundError)) as raised:
        read_all(copy)
    assert any(part in str(raised.value) for part in (name, name.split("/c/")[0], "has seen 0 of 21", "is no bank"))


def test_every_file_is_tried(run):
    """But for the metadata of other arrays and for other blocks, which are like those that are."""
    names = (name for name in small_pass.contents(run.folder) if not name.endswith("zarr.json"))
    there = {name for name in names if not re.search(r"/c/[1-9]", name)}
    assert there | {"run.json"} == {name for name in FILES if not name.endswith("zarr.json")} | {
        "bank/labels/group/c/0"
    }


def test_a_run_of_an_earlier_format(copy):
    info = json.loads((copy / "run.json").read_text())
    (copy / "run.json").write_text(json.dumps(info | {"format": 1}))
    with pytest.raises(ValueError, match=r"run\.json is of format 1 and this version reads 3 and 4; run it again"):
        jaxclip.open_run(copy)


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
