"""Data sets that mean harm or are broken: lists, tables, MATLAB's and tfds's files, pools of texts."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
from fuzzing import DAMAGE, JSON, alone, damaged, fuzz, leaves, replaced, told
from hypothesis import strategies as st
from PIL import Image
from scipy.io import savemat

from jaxclip.data.file_names import as_named, written
from jaxclip.data.matlab import read_matlab
from jaxclip.data.open_data import open_data
from jaxclip.data.scenes.tfds_builder import Scenes, ScenesConfig
from jaxclip.data.tables import read_table
from jaxclip.data.text_pools import read_pool
from jaxclip.runs.bank import label_path

WORDS = st.text(st.sampled_from("ab01,;\t \"'\n\r\0/.-\ud800é"), max_size=40)


@fuzz(
    text=st.builds(str.__add__, st.sampled_from(["", "path,label\n", "path\tlabel\n"]), WORDS),
    suffix=st.sampled_from(["csv", "tsv", "txt"]),
)
def test_any_list(folder, text, suffix):
    (folder / f"list.{suffix}").write_bytes(text.encode("utf-8", "surrogatepass"))
    source = []
    assert told(lambda: source.append(open_data(folder / f"list.{suffix}"))) != ""
    for one in source:
        one.fingerprint()
        assert all(isinstance(one[i].name, str) for i in range(len(one)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,label\n" + "a" * 200_000 + ",1\n", r"line 1, is no table of paths and labels \(field larger"),
        ("path,label,label\na,1,2\n", "column 'label' more than once"),
        ("path,label\na,1,2\n", "another number of columns"),
        ("path,label\na," + "9" * 5000 + "\n", "column label: Exceeds the limit"),
    ],
)
def test_a_table_that_cannot_be_one_is_named(tmp_path, text, message):
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        open_data(tmp_path / "list.csv")


def test_names_that_no_file_can_have(tmp_path):
    """They are images that cannot be read, not the end of the pass."""
    (tmp_path / "list.txt").write_bytes(b"a\0b.png 1\n" + b"x" * 5000 + b".png 2\n../../../etc/passwd 3\n")
    source = open_data(tmp_path / "list.txt")
    assert source.fingerprint()
    assert [source[i].labels["label"] for i in range(3)] == [1, 2, 3]


def test_a_name_that_is_no_utf8_is_one_that_can_be_written(tmp_path):
    """Results are written as UTF-8: its bytes are, so that no two names become one, and the picture is still found."""
    names = [b"caf\xe9.png", b"caf\\xe9.png", "caf\u00e9.png".encode(), b"a\\b.png"]
    for name in names:
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            file.write(name)
    source = open_data(tmp_path)
    shown = [source[i].name for i in range(len(source))]
    assert sorted(shown) == sorted(["caf\\xe9.png", "caf\\x5cxe9.png", "caf\u00e9.png", "a\\b.png"])
    json.dumps(shown, ensure_ascii=False).encode()
    for i, name in enumerate(shown):
        assert source[i].image.read_bytes() == os.fsencode(as_named(name))


@fuzz(name=st.binary(max_size=12).map(os.fsdecode), other=st.text(st.sampled_from("\\x5ce9\udce9"), max_size=9))
def test_any_name_comes_back(folder, name, other):
    for one in (name, other):
        assert as_named(written(one)) == one
        written(one).encode()


def test_links_are_followed_for_images_only(tmp_path):
    """A folder of links is how one makes a subset; a link to something that is no image is an image that is broken."""
    Image.new("RGB", (4, 4)).save(tmp_path / "real.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "set" / "up.png").symlink_to("/etc/passwd")
    (tmp_path / "set" / "loop").symlink_to(tmp_path / "set")
    source = open_data(tmp_path / "set", kind="folder")
    assert [source[i].name for i in range(len(source))] == ["a.png", "up.png"]


@pytest.mark.parametrize("kind", ["", ".", "..", "...", "../../x", "/", "a/b", "\0", "é"])
def test_a_kind_of_label_names_one_folder_below_the_bank(tmp_path, kind):
    path = label_path(kind)
    assert os.path.normpath(path) == path
    assert path.count("/") == 1
    assert path.startswith("labels/")
    assert path != label_path("label")


def kit(**changes):
    rows = np.array([(1, "n01440764"), (2, "n02084071")], [("ILSVRC2012_ID", "i4"), ("WNID", "O")])
    buffer = io.BytesIO()
    savemat(buffer, {"synsets": rows, **changes}, do_compression=bool(changes))
    return buffer.getvalue()


def test_what_scipy_reads_is_read(tmp_path):
    for name, data in (("plain.mat", kit()), ("packed.mat", kit(other=np.zeros(9)))):
        (tmp_path / name).write_bytes(data)
        assert read_matlab(tmp_path / name, "synsets")["WNID"].tolist() == ["n01440764", "n02084071"]


def test_matlab_files_that_only_want_memory(tmp_path):
    """A few bytes that unpack to gigabytes, and arrays of cells that declare what is not there."""
    bomb = zlib.compress(bytes(2**27), 9)
    (tmp_path / "bomb.mat").write_bytes(kit()[:128] + struct.pack("<II", 15, len(bomb)) + bomb)
    whole = kit()
    at = whole.index(struct.pack("<III", 5, 8, 1)) if struct.pack("<III", 5, 8, 1) in whole else None
    assert at is not None, "the sizes of the structure stand somewhere"
    lie = whole[: at + 8] + struct.pack("<ii", 2**15, 2**15) + whole[at + 16 :]
    (tmp_path / "lie.mat").write_bytes(lie)
    said = alone(
        "read_matlab(Path(argument), 'synsets')",
        [tmp_path / "bomb.mat", tmp_path / "lie.mat"],
        imports="from pathlib import Path; import scipy.io; from jaxclip.data.matlab import read_matlab",
        gigabytes=2,
    )
    assert "unpacks to more than" in said[0]
    assert "declares an array of (32768, 32768)" in said[1]


@fuzz(damage=DAMAGE, packed=st.booleans())
def test_any_damage_to_a_matlab_file(folder, damage, packed):
    (folder / "meta.mat").write_bytes(damaged(kit(other=np.zeros(9)) if packed else kit(), damage))
    assert "meta.mat" in (told(read_matlab, folder / "meta.mat", "synsets") or "meta.mat")


@fuzz(data=st.binary(max_size=200), damage=DAMAGE)
def test_any_pool(folder, data, damage):
    (folder / "pool.txt").write_bytes(data)
    told(read_pool, folder / "pool.txt")
    (folder / "pool.txt").write_bytes(b"a\nb\n")
    np.save(folder / "pool.npy", np.ones((2, 3), np.float32))
    (folder / "pool.npy").write_bytes(damaged((folder / "pool.npy").read_bytes(), damage))
    told(read_pool, folder / "pool.npy")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (1, 1), }",
    ],
)
def test_an_array_is_no_larger_than_its_file_and_holds_no_objects(tmp_path, header):
    (tmp_path / "pool.txt").write_text("a\n")
    text = header.ljust(118).encode() + b"\n"
    (tmp_path / "pool.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(64))
    with pytest.raises(ValueError, match=r"pool\.npy is no NumPy array"):
        read_pool(tmp_path / "pool.npy")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    config = ScenesConfig(name="small", n_train=1, n_validation=1, n_test=2, pixels=32, n_captions=1)
    builder = Scenes(data_dir=tmp_path_factory.mktemp("tfds"), config=config)
    builder.download_and_prepare()
    return builder.data_path


def test_a_tfds_folder_cannot_import_a_module(prepared, tmp_path, monkeypatch):
    """tfds imports the module that a feature's class is said to be in."""
    (tmp_path / "trap.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    features = json.loads((prepared / "features.json").read_text())
    folder = tmp_path / "set"
    folder.mkdir()
    for file in prepared.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert len(open_data(folder, split="test")) == 2
    named = [path for path in leaves(features) if path and path[-1] in ("pythonClassName", "type")]
    assert len(named) > 5
    for path in named:
        for key in ("pythonClassName", "python_class_name", "type"):
            parent = replaced(features, path, "trap.Feature")
            if key != path[-1]:
                parent = replaced(features, path[:-1], {key: "trap.Feature", "content": {}})
            (folder / "features.json").write_text(json.dumps(parent))
            with pytest.raises(ValueError, match=r"has 'trap\.Feature'; expected tfds's own"):
                open_data(folder, split="test")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["owner:name", "huggingface:mnist", "https://example.org/x", "gs://bucket/x", "../x"])
def test_a_name_that_tfds_would_fetch_is_none(name):
    with pytest.raises(FileNotFoundError, match="no name of a tfds data set"):
        open_data(name)


@fuzz(40, new=JSON, place=st.integers(0, 10**6), file=st.sampled_from(["features.json", "dataset_info.json"]))
def test_any_description_of_a_tfds_folder(folder, new, place, file):
    source = folder / "set"
    if not source.exists():
        config = ScenesConfig(name="small", n_train=1, n_validation=1, n_test=2, pixels=32, n_captions=1)
        builder = Scenes(data_dir=folder, config=config)
        builder.download_and_prepare()
        builder.data_path.rename(source)
        for name in ("features.json", "dataset_info.json"):
            (folder / name).write_bytes((source / name).read_bytes())
    whole = json.loads((folder / file).read_text())
    paths = leaves(whole)
    (source / file).write_text(json.dumps(replaced(whole, paths[place % len(paths)], new)))
    told(lambda: [open_data(source, split="test")[i] for i in range(2)])
    (source / file).write_bytes((folder / file).read_bytes())


def test_a_table_is_read_as_it_was(tmp_path):
    (tmp_path / "a.csv").write_text('path, "label"\na b.png,"x, y"\n')
    assert read_table(tmp_path / "a.csv") == (["path", "label"], [{"path": "a b.png", "label": "x, y"}])
