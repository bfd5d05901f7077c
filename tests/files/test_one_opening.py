"""What was looked at is what is read: a file is opened once, and a pipe that takes its place in between is refused and
not waited for. All JSON is read in one way, and whatever is wrong with it is one sentence."""

import faulthandler
import json
import os
import re
import shutil

import numpy as np
import pytest
import small_pass
from command import only_line, status
from fuzzing import told
from PIL import Image
from test_fuzz_hdf5 import segmentation
from test_fuzz_runs import vouched

import jaxclip
from jaxclip.data.cifar import Cifar
from jaxclip.data.masks.mask_files import read_mask
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.data.open_data import open_data
from jaxclip.data.text_pools import read_pool
from jaxclip.files.array_files import read_array
from jaxclip.files.checksums import sha256
from jaxclip.files.strict_json import MAX_DEPTH, MAX_FILE, MAX_LARGE, parse_json, read_object
from jaxclip.preprocess import preprocess
from jaxclip.report.html.build import read_results
from jaxclip.runs import goes_on, lock_holder
from jaxclip.runs.folder import outline, read_info


def image(path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)


def pool(path):
    np.save(path, np.eye(3, dtype=np.float32))
    path.with_suffix(".txt").write_text("a\nb\nc")


def cifar(path):
    path.write_bytes(bytes(3073))


READERS = {
    "a.png": (image, lambda path: preprocess(path, small_pass.PREPROCESS)),
    "raw.ppm": (image, lambda path: preprocess(path, small_pass.PREPROCESS)),
    "mask.png": (lambda path: Image.new("L", (8, 8)).save(path), read_mask),
    "pool.npy": (pool, read_pool),
    "matrices.npy": (lambda path: np.save(path, np.eye(3)), read_array),
    "test_batch.bin": (cifar, lambda path: Cifar(path.parent, "test")),
    "a.mat": (lambda path: path.write_bytes(segmentation()), lambda path: open_masked(path)[0]),
    "a.json": (lambda path: path.write_text("{}"), lambda path: read_object(path, "make it again")),
    "results.json": (lambda path: path.write_text("{}"), lambda path: read_results(path.parent)),
    "sum": (lambda path: path.write_text("all"), sha256),
}  # fmt: skip


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's pipes")
@pytest.mark.parametrize("name", READERS)
def test_nothing_takes_the_place_of_what_was_looked_at(tmp_path, monkeypatch, name):
    """A pipe does, after the first look, the second, and so on."""
    make, read = READERS[name]
    path, stat = tmp_path / name, os.stat
    make(path)
    looks = 0

    def look(asked, **options):
        nonlocal looks
        found = stat(asked, **options)
        if not isinstance(asked, int) and os.fspath(asked) == str(path):
            looks += 1
            if looks == swapped:
                os.unlink(path)
                os.mkfifo(path)
        return found

    monkeypatch.setattr(os, "stat", look)
    faulthandler.dump_traceback_later(60, exit=True)
    for swapped in range(1, 20):
        looks = 0
        said = told(read, path)
        assert said is None or re.search("pipe|no such|not a directory", said, re.IGNORECASE)
        if looks < swapped:
            break
        path.unlink()
        make(path)
    faulthandler.cancel_dump_traceback_later()
    assert 1 < swapped < 19


@pytest.mark.parametrize("suffix", ["bmp", "ppm", "tiff", "gif", "png", "jpg", "webp"])
def test_a_picture_from_a_path_is_the_one_from_its_bytes(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)).save(path)
    from_path, from_bytes = (preprocess(one, small_pass.PREPROCESS) for one in (path, path.read_bytes()))
    np.testing.assert_array_equal(from_path, from_bytes)
    path.unlink()  # nothing holds it open, or maps it


def test_arrays_take_what_their_files_have(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0).reshape(2, 3))
    np.testing.assert_array_equal(read_array(tmp_path / "a.npy"), np.arange(6.0).reshape(2, 3))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(whole.replace(b"(2, 3)", b"(9, 9)"))
    with pytest.raises(ValueError, match=r"declares float64 \[9, 9\] and has 48 bytes"):
        read_array(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{}], object), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read_array(tmp_path / "c.npy")


WRONG = {
    "deep": "[" * 5000 + "]" * 5000, "deeper": '{"a":' * 300 + "1" + "}" * 300, "open": "[" * 200_000,
    "nan": '{"a": NaN}', "infinite": '{"a": -Infinity}', "large": '{"a": 1e999}', "digits": '{"a": ' + "9" * 5000 + "}",
    "twins": '{"a": 1, "a": 2}', "list": "[1, 2]", "word": '"run"', "number": "3", "nothing": "", "null": "null",
    "half": '{"a": "\\ud800"}', "bytes": b'{"a": "\xff"}', "utf-16": '{"a": 1}'.encode("utf-16"),
}  # fmt: skip


def written(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize("kind", WRONG)
def test_whatever_is_wrong_with_json_is_one_sentence(tmp_path, capsys, kind):
    written(tmp_path / "run.json", WRONG[kind])
    assert status("textspan", tmp_path, "--out", tmp_path / "out") == 1
    assert "run.json" in only_line(capsys.readouterr())
    written(tmp_path / "a.json", WRONG[kind])
    with pytest.raises(ValueError, match=r"a\.json.*make it again"):
        read_object(tmp_path / "a.json", "make it again")
    (tmp_path / "made").mkdir()
    written(tmp_path / "made" / "results.json", WRONG[kind])
    if kind in ("nan", "infinite"):  # numbers that a command did not find
        assert read_results(tmp_path / "made")["data"] == {"a": None}
        return
    with pytest.raises(ValueError, match=r"results\.json.*run the command that wrote it again"):
        read_results(tmp_path / "made")


@pytest.mark.parametrize("kind", WRONG)
def test_what_a_state_and_a_list_say_is_read_in_the_same_way(tmp_path, tmp_path_factory, kind):
    content = WRONG[kind] if isinstance(WRONG[kind], bytes) else WRONG[kind].encode()
    whole = small_pass.run(tmp_path_factory.getbasetemp()).folder
    for part in ("checksums", "changes"):
        copy = shutil.copytree(whole, tmp_path / part)
        with np.load(copy / "state.npz") as held:
            arrays = dict(held)
        np.savez(copy / "state.npz", **arrays | {part: np.frombuffer(content, np.uint8)})
        if part == "changes":
            assert goes_on._progress(copy / "state.npz") == (0, []) or kind == "list"
        with pytest.raises(ValueError, match=r"state\.npz is damaged"):
            _ = jaxclip.open_run(copy).state
    copy = shutil.copytree(whole, tmp_path / "list")
    lines = (copy / "images.jsonl").read_bytes().splitlines()
    (copy / "images.jsonl").write_bytes(b"\n".join([content.replace(b"\n", b" "), *lines[1:]]) + b"\n")
    vouched(copy)
    with pytest.raises(ValueError, match=r"images\.jsonl is damaged"):
        _ = jaxclip.open_run(copy).names


@pytest.mark.parametrize("pid", [-1, 0, 1, 2**40, True, "7", [1], None, 1.5])
def test_a_lock_never_advises_to_end_other_processes(tmp_path, pid):
    said = {"host": "here", "pid": pid, "since": "today"}
    (tmp_path / "lock").write_text(json.dumps(said))
    with open(tmp_path / "lock", "rb") as lock:
        assert "kill" not in lock_holder.told(lock)
    (tmp_path / "lock").write_text(json.dumps(said | {"pid": 4321}))
    with open(tmp_path / "lock", "rb") as lock:
        assert "kill -9 4321" in lock_holder.told(lock)


@pytest.mark.parametrize("kind", WRONG)
def test_a_lock_that_says_anything_else_is_only_a_lock(tmp_path, kind):
    written(tmp_path / "lock", WRONG[kind])
    with open(tmp_path / "lock", "rb") as lock:
        assert lock_holder.told(lock) == "wait for it, or name another folder"


def test_depth_is_counted_where_lists_are_in_lists():
    assert parse_json("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert len(parse_json(json.dumps([[1]] * 1000))) == 1000
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1))


def test_files_of_terabytes_are_refused_before_they_are_read(tmp_path):
    """They take no room on the disk."""
    readers = {
        "run.json": (read_info, MAX_LARGE), "results.json": (read_results, MAX_LARGE),
        "a.json": (lambda folder: read_object(folder / "a.json", "make it again"), MAX_FILE),
    }  # fmt: skip
    for name, (read, most) in readers.items():
        with open(tmp_path / name, "wb") as file:
            file.truncate(2**40)
        with pytest.raises(ValueError, match=rf"{name} is {2**40} bytes, expected at most {most}"):
            read(tmp_path)


def test_a_run_is_not_begun_that_could_not_be_read_again(tmp_path_factory):
    source = open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))
    source.label_names = {**source.label_names, "caption": ("x" * 1000,) * (MAX_LARGE // 1500)}
    clip = small_pass.clip()
    with pytest.raises(ValueError, match=r"the names of caption, 44,739 of them, are too many to be labels"):
        outline(clip.config, clip.vision.compute, source, {})
