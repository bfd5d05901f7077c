"""Nothing is written outside the folder that was named: no link, hard or symbolic, in a name's place is followed; what
was there stays until all of a new file is on the disk; and nothing that a link leads to is carried into a converted
model."""

import errno
import json
import os
import re
import shutil
from contextlib import suppress
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import small
import small_pass
from command import status
from PIL import Image

import jaxclip
from jaxclip import convert
from jaxclip.data.masks.mask_files import save_mask
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes import CHECKPOINT
from jaxclip.files import atomic, whole
from jaxclip.files.whole import replaced, write_whole
from jaxclip.runs.run_pass import run_pass

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs links")
SECRET = b"not yours to change"


@pytest.fixture
def elsewhere(tmp_path):
    """A file and a folder with one that stand for everything outside."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").write_bytes(SECRET)
    (tmp_path / "elsewhere" / "folder").mkdir()
    yield tmp_path / "elsewhere"
    assert (tmp_path / "elsewhere" / "file").read_bytes() == SECRET
    assert not list((tmp_path / "elsewhere" / "folder").iterdir())


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))


NAMES = (
    "run.json", "matrices.npy", "state.npz", "images.jsonl", "images.part.jsonl", "stamps.npy", ".lock",
    "run.json.draft", "matrices.npy.draft", "state.npz.draft", "images.jsonl.draft",
)  # fmt: skip


def often(name, how, begun):
    """Whether a case is tried each time: every name by a link, and what passes write to by every way."""
    return how == "symbolic" if begun or name.endswith(".draft") else how != "nowhere"


@pytest.mark.parametrize(
    ("name", "how", "begun"),
    [
        pytest.param(*case, marks=[pytest.mark.nightly] * (not often(*case)))
        for case in product(NAMES, ["symbolic", "hard", "nowhere"], [False, True])
    ],
)
def test_a_pass_changes_no_file_elsewhere(data, tmp_path, elsewhere, name, how, begun):
    out = tmp_path / "run"
    if begun:
        with pytest.raises(RuntimeError, match="enough"):
            run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING, save_every=0.0, progress=stop_after(2))
        (out / name).unlink(missing_ok=True)
    out.mkdir(exist_ok=True)
    if how == "hard":
        os.link(elsewhere / "file", out / name)
    else:
        (out / name).symlink_to(elsewhere / "file" if how == "symbolic" else elsewhere / "folder" / "new")
    # Refused by name, or the name is none of a run's: nothing elsewhere changes either way.
    with suppress(ValueError, OSError):
        run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING)


def stop_after(steps):
    seen = []

    def progress(done, total):
        seen.append(done)
        if len(seen) == steps:
            raise RuntimeError("enough")

    return progress


@pytest.mark.parametrize("where", ["bank", "bank/heads", "bank/heads/zarr.json", "bank/heads/c", "bank/labels"])
def test_a_bank_is_no_way_out(data, tmp_path, elsewhere, where):
    out = tmp_path / "run"
    (out / where).parent.mkdir(parents=True)
    (out / where).symlink_to(elsewhere / ("file" if where.endswith(".json") else "folder"))
    with pytest.raises((ValueError, OSError), match=Path(where).parts[0]):
        run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING)


def test_blocks_and_their_locks_are_no_way_out(data, tmp_path, elsewhere):
    """tensorstore opens BLOCK.__lock beside each block, a name that can be foreseen."""
    out = tmp_path / "run"
    with pytest.raises(RuntimeError, match="enough"):
        run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING, save_every=0.0, progress=stop_after(2))
    block = next(path for path in (out / "bank").rglob("*") if path.is_file() and path.name != "zarr.json")
    for path in (block, block.with_name(f"{block.name}.__lock")):
        kept = path.read_bytes() if path.exists() else None
        path.unlink(missing_ok=True)
        path.symlink_to(elsewhere / "file")
        with pytest.raises((ValueError, OSError), match="is a link"):
            run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING)
        path.unlink()
        if kept is not None:
            path.write_bytes(kept)
    run_pass(small_pass.clip(), data, out, small_pass.EVERYTHING)


WRITERS = {
    "results.json": lambda path: write_whole(path, "{}"),
    "mask.png": lambda path: save_mask(np.zeros((4, 4), np.uint8), path),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("how", ["link", "pipe", "folder"])
def test_files_take_no_place_of_anything_else(tmp_path, elsewhere, name, how):
    path = tmp_path / name
    {"link": lambda: path.symlink_to(elsewhere / "file"), "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[how]()
    with pytest.raises(ValueError, match=f"{name} is a {how}"):
        WRITERS[name](path)
    assert [one.name for one in tmp_path.iterdir()] == sorted([name, "elsewhere"], key=[*os.listdir(tmp_path)].index)


@pytest.mark.parametrize(
    "name", ["results.json", "scene_7_map.png", pytest.param("scene_7_heads.png", marks=pytest.mark.nightly)]
)
def test_a_command_writes_through_no_link(tmp_path, elsewhere, capsys, name):
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(elsewhere / "file")
    assert status("decompose", "scenes", "scenes/7", "--texts", "a star", "a circle", "--out", out) == 1
    assert f"{name} is a link, and nothing is written through it" in capsys.readouterr().err


@pytest.mark.parametrize("at", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_is_named(tmp_path, monkeypatch, at):
    path = tmp_path / "results.json"
    path.write_text("old")

    def full(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if at == "write":
        with pytest.raises(OSError, match="the disk filled up"), replaced(path):
            full()
    else:
        monkeypatch.setattr(whole.os, at, full)
        with pytest.raises(OSError, match=r"at / .*the disk filled up|the disk filled up.*kept; free some space"):
            write_whole(path, "new")
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["results.json"]


def test_a_file_is_whole_whatever_its_name(tmp_path):
    for name in ("ä" * 120, "x" * 255, "a\nb", ".hidden"):
        write_whole(tmp_path / name, "all")
        assert (tmp_path / name).read_text() == "all"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return small.export_two_layers(tmp_path_factory.mktemp("links") / "source")


@pytest.mark.parametrize(
    "name",
    [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "open_clip_config.json",
        "open_clip_model.safetensors",
    ],
)  # fmt: skip
def test_nothing_that_a_link_leads_to_is_carried_along(tmp_path, elsewhere, name):
    copy = tmp_path / "source"
    shutil.copytree(CHECKPOINT, copy)
    (tmp_path / "outside").mkdir()
    (copy / name).rename(tmp_path / "outside" / "kept")
    (copy / name).symlink_to(tmp_path / "outside" / "kept")
    with pytest.raises((ValueError, OSError), match=rf"(?s){re.escape(name)}.*link|link.*{re.escape(name)}"):
        convert.convert(copy, tmp_path / "model")
    assert not (tmp_path / "model").exists()


INDEXED = [
    "../../outside/w.safetensors", "/outside/w.safetensors", "sub/w.safetensors", "..", "", ".", "w\0.safetensors",
    "./w.safetensors", "w.safetensors/", "~/w.safetensors", "link.safetensors", "links.safetensors", "w.txt",
    5, None, ["a"],
]  # fmt: skip


@pytest.mark.parametrize("named", INDEXED)
def test_an_index_names_files_beside_it_and_no_others(tmp_path, elsewhere, named):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "w.safetensors").write_bytes(SECRET)
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "w.safetensors").write_bytes(SECRET)
    (source / "link.safetensors").symlink_to(tmp_path / "outside" / "w.safetensors")
    (source / "links.safetensors").symlink_to("link.safetensors")
    (source / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": named}}))
    (source / "config.json").write_text('{"model_type": "clip"}')
    for asked in (source, source / "model.safetensors.index.json"):
        with pytest.raises((ValueError, OSError)) as error:
            convert.read(asked)
        assert SECRET.decode() not in str(error.value)


@pytest.mark.parametrize("way", ["link", "link to a link", "through a folder", "absolute within", "dangling"])
def test_links_are_followed_to_their_end(source, tmp_path, way):
    copy, outside = shutil.copytree(source, tmp_path / "source"), tmp_path / "outside"
    outside.mkdir()
    weights = copy / "open_clip_model.safetensors"
    inside = way == "absolute within"
    weights.rename((copy if inside else outside) / "kept.safetensors")
    if way == "link to a link":
        (copy / "second").symlink_to(outside / "kept.safetensors")
        weights.symlink_to("second")
    elif way == "through a folder":
        (copy / "folder").symlink_to(outside)
        weights.symlink_to("folder/kept.safetensors")
    else:
        place = {"link": outside / "kept.safetensors", "dangling": outside / "none"}.get(way, copy / "kept.safetensors")
        weights.symlink_to(place)
    if inside:
        convert.read(copy)
        return
    with pytest.raises((ValueError, OSError), match=r"is a link (out of its folder|that leads nowhere)"):
        convert.read(copy)


def test_a_folder_that_is_a_link_was_named_and_hard_links_are_files(source, tmp_path):
    (tmp_path / "link").symlink_to(source)
    convert.read(tmp_path / "link")
    (tmp_path / "copy").mkdir()
    for path in source.iterdir():
        os.link(path, tmp_path / "copy" / path.name)
    convert.read(tmp_path / "copy")


def test_links_inside_the_folder_and_the_hubs_own_are_followed(source, tmp_path):
    copy = tmp_path / "source"
    shutil.copytree(source, copy)
    weights = copy / "open_clip_model.safetensors"
    weights.rename(copy / "kept.bin")
    weights.symlink_to("kept.bin")
    convert.read(copy)
    hub = tmp_path / "models--org--name"
    (hub / "blobs").mkdir(parents=True)
    snapshot = hub / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(source.iterdir())):
        shutil.copy(path, hub / "blobs" / str(number))
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", str(number)))
    convert.read(snapshot)


def test_a_model_that_is_replaced_is_never_gone(source, tmp_path, monkeypatch):
    """Killed at any system call of the exchange, the name leads to a whole model, old or new."""
    out = convert.convert(source, tmp_path / "model")
    before = out.stat().st_ino

    class Killed(BaseException):
        pass

    def killed(*arguments):
        raise Killed

    monkeypatch.setattr(atomic, "_discard", killed)  # the first thing behind the exchange
    with pytest.raises(Killed):
        convert.convert(source, out, overwrite=True)
    jaxclip.load(out)
    assert out.stat().st_ino != before


def test_where_names_cannot_be_exchanged_the_old_model_is_put_back(source, tmp_path, monkeypatch, capsys):
    out = convert.convert(source, tmp_path / "model")
    old = tmp_path / ".model.abcdefgh.old"
    old.mkdir()
    out.rename(old / "model")  # killed between two renames
    with pytest.raises((ValueError, OSError), match=r"\.model\.abcdefgh\.old"):
        jaxclip.load(out)
    # It is there again, and not to be overwritten.
    with pytest.warns(UserWarning, match="was put back"), pytest.raises(FileExistsError):
        convert.convert(source, out)
    jaxclip.load(out)
    assert not old.exists()


def test_pictures_behind_links_are_still_read(tmp_path):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.png").symlink_to(tmp_path / "a.png")
    assert len(open_data(tmp_path / "data")) == 1
