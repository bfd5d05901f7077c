"""A converted folder is complete or not there, and holds exactly what was put in."""

import errno
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.files import atomic, checkpoint
from jaxclip.files.tokenizer_files import TokenizerSource
from jaxclip.model.params import flatten, unflatten


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A random OpenCLIP checkpoint: its folder, its config and its parameters."""
    pytest.importorskip("open_clip", reason="needs open_clip_torch (make test installs it where it can)")
    folder = tmp_path_factory.mktemp("tiny")
    checkpoints.make_openclip(folder)
    config, params, _, _ = convert.read(folder)
    return folder, config, params


def save(folder, config, params, **options):
    words = TokenizerSource(kind="missing", why="none")
    return checkpoint.save(folder, config, params, provenance={"source": "test"}, tokenizer=words, **options)


def assert_same(params, others):
    ours, theirs = dict(flatten(params)), dict(flatten(others))
    assert ours.keys() == theirs.keys()
    for path, array in ours.items():
        assert array.dtype == theirs[path].dtype
        np.testing.assert_array_equal(np.asarray(array), np.asarray(theirs[path]), err_msg=path)


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_is_loaded_is_what_was_read(tiny, tmp_path, dtype):
    source, config, _ = tiny
    out = convert.convert(source, tmp_path / "out", dtype=dtype)
    held = checkpoint.load(out)
    _, params, _, _ = convert.read(source, dtype=dtype)
    assert held.config == config
    assert_same(held.params, params)
    assert {leaf.dtype.name for _, leaf in flatten(held.params)} == {dtype}
    assert leftovers(tmp_path) == []


def test_provenance_says_where_the_weights_come_from_and_why(tiny, tmp_path):
    import hashlib

    source, _, _ = tiny
    held = checkpoint.load(convert.convert(source, tmp_path / "out", image_size=48)).provenance
    weights = source / "open_clip_model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert held["weights"] == [{"file": weights.name, "bytes": weights.stat().st_size, "sha256": digest}]
    assert held["source"] == str(source)
    for option in (
        "architecture",
        "activation",
        "preprocess",
        "image_size",
        "position_embedding",
        "dtype",
        "tokenizer",
    ):
        assert held["options"][option]["why"], option
    assert held["versions"]["jaxclip"]


def test_the_folder_needs_nothing_else(tiny, tmp_path):
    """The source may be gone, the folder may move, and its tokenizer moves with it."""
    source = tmp_path / "source"
    checkpoints.make_openclip(source)
    (source / "tokenizer.json").write_text('{"model": "words"}')
    (source / "not_a_tokenizer.json").write_text("{}")
    out = convert.convert(source, tmp_path / "out")
    for path in source.iterdir():
        path.unlink()
    moved = out.rename(tmp_path / "moved")
    held = checkpoint.load(moved)
    assert held.tokenizer.kind == "own"
    assert held.tokenizer.folder == moved / "tokenizer"
    assert [path.name for path in held.tokenizer.folder.iterdir()] == ["tokenizer.json"]


def test_parameters_can_be_read_straight_to_devices(tiny, tmp_path):
    _, config, params = tiny
    out = save(tmp_path / "out", config, params)
    place = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    held = checkpoint.load(out, shardings={"vision.projection": place}, dtype=np.float16)
    leaves = dict(flatten(held.params))
    assert isinstance(leaves["vision.projection"], jax.Array)
    assert leaves["vision.projection"].sharding == place
    assert {leaf.dtype.name for leaf in leaves.values()} == {"float16"}
    assert isinstance(leaves["text.projection.kernel"], np.ndarray)


def test_open_source_takes_both_kinds_of_folder(tiny, tmp_path):
    source, _, _ = tiny
    out = convert.convert(source, tmp_path / "out")
    before, after = convert.open_checkpoint(source, image_size=48), convert.open_checkpoint(out, image_size=48)
    assert before[0].vision == after[0].vision
    assert_same(before[1], after[1])
    with pytest.raises(ValueError, match=r"no tokenizer: .*its vocabulary of 60 is not CLIP's"):
        after[2]("a photo")
    with pytest.raises(ValueError, match="converted already, so activation is settled"):
        convert.open_checkpoint(out, activation="gelu")
    with pytest.raises(ValueError, match=r"converted already; open it with jaxclip.load"):
        convert.convert(out, tmp_path / "again")


def test_an_output_that_exists_is_refused_before_any_work(tiny, tmp_path):
    source, config, params = tiny
    out = save(tmp_path / "out", config, params)
    with pytest.raises(FileExistsError, match="exists; pass overwrite=True"):
        convert.convert(tmp_path / "no such source", out)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="is no converted checkpoint; it is not replaced"):
        convert.convert(source, mine, overwrite=True)
    assert (mine / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileExistsError, match="exists"):
        convert.convert(source, tmp_path / "file", overwrite=True)


def test_overwrite_replaces_only_once_the_new_one_is_complete(tiny, tmp_path, monkeypatch):
    _, config, params = tiny
    out = save(tmp_path / "out", config, params)
    other = unflatten({path: leaf + 1 for path, leaf in flatten(params)})
    with monkeypatch.context() as broken:
        broken.setattr(checkpoint, "inventory", lambda draft: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save(out, config, other, overwrite=True)
    assert_same(checkpoint.load(out).params, params)
    save(out, config, other, overwrite=True)
    assert_same(checkpoint.load(out).params, other)
    assert leftovers(tmp_path) == []


def test_a_rename_that_fails_puts_the_old_one_back(tiny, tmp_path, monkeypatch):
    _, config, params = tiny
    out = save(tmp_path / "out", config, params)
    rename = Path.rename

    def refuse_drafts(self, target):
        if self.name.endswith(".draft"):
            raise OSError(errno.EIO, "input/output error")
        return rename(self, target)

    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)  # as where the system has no such thing
    monkeypatch.setattr(Path, "rename", refuse_drafts)
    with pytest.raises(OSError, match=r"failed \(Input/output error\) while out was written .*; run it again"):
        save(out, config, params, overwrite=True)
    assert_same(checkpoint.load(out).params, params)
    assert leftovers(tmp_path) == []


FULL_DISK = """
import resource, signal, sys
from jaxclip import convert
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    convert.convert(sys.argv[1], sys.argv[2])
except OSError as error:
    print("OSError", error)
"""


@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_disk_that_fills_half_way_is_one_clear_error_and_leaves_nothing(tiny, tmp_path, limit):
    """The system refuses to let any file grow past `limit` bytes, as it does when the disk is full."""
    source, _, _ = tiny
    out = tmp_path / "place" / "out"
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(source), str(out), str(limit)],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.startswith("OSError"), ran.stderr
    assert "the disk filled up while out was written and nothing was left behind" in ran.stdout
    assert list(out.parent.iterdir()) == []


def test_too_little_disk_is_said_before_anything_is_written(tiny, tmp_path, monkeypatch):
    source, _, _ = tiny
    usage = atomic.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(atomic.shutil, "disk_usage", lambda path: usage._replace(free=10**6))
    with pytest.raises(OSError, match=r"the weights take [\d,]+ bytes and the disk has 1,000,000 left"):
        convert.convert(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, sys
from jaxclip import convert
from jaxclip.files import checkpoint
checkpoint.inventory = lambda draft: os._exit(9)
convert.convert(sys.argv[1], sys.argv[2])
"""


def test_a_conversion_that_is_killed_leaves_no_folder_of_that_name(tiny, tmp_path):
    source, _, _ = tiny
    out = tmp_path / "out"
    ran = subprocess.run([sys.executable, "-c", KILLED, str(source), str(out)], capture_output=True, timeout=120)
    assert ran.returncode == 9
    assert not out.exists()
    (draft,) = tmp_path.iterdir()
    with pytest.raises(FileNotFoundError, match=r"is no converted checkpoint: it has no manifest.json"):
        checkpoint.load(draft)


@pytest.mark.parametrize(
    "name", ["config.json", "provenance.json", "weights/_METADATA", "weights/manifest.ocdbt", "weights/d"]
)
@pytest.mark.parametrize("harm", ["truncate", "delete", "flip"])
def test_a_folder_that_changed_is_not_loaded(tiny, tmp_path, name, harm):
    _, config, params = tiny
    out = save(tmp_path / "out", config, params)
    path = out / name if (out / name).is_file() else max((out / name).iterdir(), key=lambda file: file.stat().st_size)
    content = path.read_bytes()
    if harm == "delete":
        path.unlink()
    else:
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes(content[:-1] if harm == "truncate" else flipped)
    with pytest.raises((ValueError, FileNotFoundError), match=r"than its manifest says|lacks|no converted checkpoint"):
        checkpoint.load(out)


def test_a_folder_from_another_version(tiny, tmp_path):
    _, config, params = tiny
    out = save(tmp_path / "out", config, params)
    for version in (1, 99):
        (out / "manifest.json").write_text(json.dumps({"format": version, "files": {}}))
        with pytest.raises(ValueError, match=f"has format {version}; this version reads 2. Convert it again"):
            checkpoint.load(out)
    (out / "manifest.json").write_text("{")
    with pytest.raises(ValueError, match=r"manifest.json is not JSON"):
        checkpoint.load(out)


def test_parameters_of_another_config_are_refused(tiny, tmp_path):
    _, config, params = tiny
    leaves = dict(flatten(params))
    del leaves["vision.projection"]
    leaves["vision.surplus"] = np.zeros(3, np.float32)
    leaves["text.ln_final.bias"] = np.zeros(7, np.float32)
    message = (
        r"vision.projection is missing; vision.surplus is not expected; text.ln_final.bias is \[7\], expected \[32\]"
    )
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "out", config, unflatten(leaves))
    assert list(tmp_path.iterdir()) == []


PEAK = """
import sys
from jaxclip import convert
convert.convert(sys.argv[1], sys.argv[2])
(line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(int(line.split()[1]) * 1024)
"""


@pytest.mark.large
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_converting_a_large_file_peaks_near_its_size(tmp_path):
    """ViT-L-14 in float32, 1.7 GB: below 1.5 times the file, everything that Python and JAX take included."""
    from jaxclip.convert import registry
    from jaxclip.convert.formats.openclip import openclip_towers
    from jaxclip.model.params import shapes

    towers = openclip_towers(registry.model_cfg("ViT-L-14"))
    config = towers.config("large", registry.named_preprocess("half-bicubic-shortest", (224, 224)))
    noise = np.random.default_rng(0).standard_normal(2**22).astype(np.float32)
    params = unflatten({path: np.resize(noise, shape) for path, shape in shapes(config).items()})
    source = convert.export_openclip(params, config, tmp_path / "source")
    size = (source / "open_clip_model.safetensors").stat().st_size
    assert size > 1.7e9
    ran = subprocess.run(
        [sys.executable, "-c", PEAK, str(source), str(tmp_path / "out")], capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 1.5 * size


@pytest.mark.parametrize(
    "told", [{"options": []}, {"options": {"dtype": 3}}, {"weights": {}}, {"weights": [{"file": 3}]}, {"source": {}}]
)
def test_where_a_model_comes_from_is_told_in_one_way(tmp_path, told):
    """Somebody else's folder may say anything, with checksums for it; what is not said is left out."""
    path = tmp_path / "provenance.json"
    path.write_text(json.dumps(told))
    with pytest.raises(ValueError, match=r"provenance\.json says nothing of where a model comes from"):
        checkpoint.provenance(tmp_path)
    for few in ({}, {"source": "test", "repository": None}):
        path.write_text(json.dumps(few))
        assert checkpoint.provenance(tmp_path) == few
