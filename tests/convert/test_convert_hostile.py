"""Weight files that are broken or mean harm: each is one clear error, and nothing of them is run."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
from parity import checkpoints

from jaxclip import convert
from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.torch_zip import FUNCTIONS, read_archive


def archive(path, pickled, data=(), *, root="archive", compression=zipfile.ZIP_STORED):
    """A zip file shaped as torch.save shapes it."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr(f"{root}/data.pkl", pickled)
        for name, content in dict(data).items():
            file.writestr(name, content)
    return path


class Call:
    """Pickles as a call of any function by name."""

    def __init__(self, module, name, *args):
        self.module, self.name, self.args = module, name, args


def dump(value):
    """Pickle with calls of any global, and storages by persistent id, as torch.save writes them."""

    class Pickler(pickle._Pickler):
        def persistent_id(self, item):
            return item.args if isinstance(item, Call) and item.name == "persistent" else None

        def save(self, item, save_persistent_id=True):
            if isinstance(item, Call) and item.name != "persistent":
                self.write(b"c" + f"{item.module}\n{item.name}\n".encode())
                if item.args:
                    self.save(tuple(item.args))
                    self.write(b"R")
                return
            super().save(item, save_persistent_id)

    stream = io.BytesIO()
    Pickler(stream, protocol=2).dump(value)
    return stream.getvalue()


def storage(key="0", count=4, kind="FloatStorage"):
    return Call("", "persistent", "storage", Call("torch", kind), key, "cpu", count)


def tensor(offset=0, shape=(2, 2), strides=(2, 1), **stored):
    return Call("torch._utils", "_rebuild_tensor_v2", storage(**stored), offset, shape, strides, False, None)


FLOATS = {"archive/data/0": np.arange(4, dtype=np.float32).tobytes()}


def test_the_helper_writes_what_the_reader_reads(tmp_path):
    found, scripted = read_archive(archive(tmp_path / "a.pt", dump({"x": tensor()}), FLOATS))
    assert not scripted
    np.testing.assert_array_equal(found["x"].read(), [[0, 1], [2, 3]])


@pytest.mark.parametrize(
    ("module", "name", "args"),
    [
        ("os", "system", ("touch {}",)),
        ("posix", "system", ("touch {}",)),
        ("builtins", "eval", ("open('{}', 'w')",)),
        ("__builtin__", "exec", ("open('{}', 'w')",)),
        ("subprocess", "check_call", (["touch", "{}"],)),
        ("torch.hub", "load", ("x",)),
        ("torch.storage", "_load_from_bytes", (b"x",)),
        ("numpy", "load", ("{}",)),
        ("builtins", "getattr", ({}, "clear")),
        ("pathlib", "Path.touch", ("{}",)),
    ],
)
@pytest.mark.parametrize("place", ["weights", "optimizer"])
def test_a_pickle_that_wants_to_run_code_names_it_and_does_not_run(tmp_path, module, name, args, place):
    trap = tmp_path / "ran"
    args = tuple(arg.format(trap) if isinstance(arg, str) else arg for arg in args)
    held = {"state_dict": {"x": tensor()}, "optimizer": {}}
    held["state_dict" if place == "weights" else "optimizer"]["trap"] = Call(module, name, *args)
    path = archive(tmp_path / "a.pt", dump(held), FLOATS)
    with pytest.raises(CheckpointError, match=f"asks to run {module.replace('__builtin__', 'builtins')}.{name}"):
        convert.read(path)
    assert not trap.exists()


def test_a_pickle_cannot_change_the_reader_for_the_next_file(tmp_path):
    """It may set attributes of the functions that it is given; they must not be the reader's own."""
    pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x04\x00\x00\x00trapK\x01sb."
    with pytest.raises(CheckpointError, match="no state dict"):
        convert.read(archive(tmp_path / "a.pt", pickled))
    assert not any("trap" in vars(function) for function in FUNCTIONS.values())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (tensor(offset=1), "reaches outside its storage"),
        (tensor(shape=(3, 2)), "reaches outside its storage"),
        (tensor(shape=(2, 2), strides=(3, 1)), "reaches outside its storage"),
        (tensor(shape=(10**9, 10**9), strides=(0, 0)), "repeats 4 stored numbers"),
        (tensor(offset=-1), "strides"),
        (tensor(strides=(-2, 1)), "strides"),
        (tensor(shape=("a", 2)), "strides"),
        (tensor(shape=(2,)), "strides"),
        (tensor(count=5), "were promised"),
        (tensor(count=-1), "no tensor storage"),
        (tensor(key="1"), "lacks the tensor data"),
        (tensor(key="../../etc/passwd"), "lacks the tensor data"),
        (tensor(kind="QInt8Storage"), "holds QInt8 numbers, and only float32"),
        (Call("", "persistent", "module", 1, 2, 3, 4), "no tensor storage"),
        (Call("", "persistent", "storage"), "broken pickle"),
    ],
)
def test_a_tensor_that_lies_about_itself(tmp_path, value, message):
    with pytest.raises(CheckpointError, match=message):
        read_archive(archive(tmp_path / "a.pt", dump({"x": value}), FLOATS))


@pytest.mark.parametrize(
    "pickled",
    [
        b"",
        b"\x80\x02",
        b"\x80\x02}",
        b"garbage",
        b"\x80\x02]" * 3,
        b"\x80\x04\x95" + b"\xff" * 8,
        b"(" * 100_000 + b".",
    ],
)
def test_a_broken_pickle(tmp_path, pickled):
    with pytest.raises(CheckpointError, match=r"broken pickle|no state dict"):
        convert.read(archive(tmp_path / "a.pt", pickled))


def test_a_pickle_that_only_wants_memory(tmp_path):
    pickled = b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"."
    with pytest.raises(CheckpointError, match="broken pickle"):
        read_archive(archive(tmp_path / "a.pt", pickled))


def test_zip_files_that_are_not_whole_or_not_pytorch(tmp_path):
    good = archive(tmp_path / "a.pt", dump({"x": tensor()}), FLOATS)
    whole = good.read_bytes()
    for length in (4, 60, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match="not a whole PyTorch file"):
            read_archive(tmp_path / "cut.pt")
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as file:
        file.writestr("readme.txt", "hello")
    with pytest.raises(CheckpointError, match=r"not PyTorch's: expected one folder with data.pkl"):
        read_archive(tmp_path / "other.pt")


def test_zip_files_with_traps(tmp_path):
    compressed = archive(tmp_path / "z.pt", dump({"x": tensor()}), FLOATS, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match=r"has archive/data\.pkl compressed"):
        read_archive(compressed)
    big_endian = {**FLOATS, "archive/byteorder": b"big"}
    with pytest.raises(CheckpointError, match="save it again on a little-endian machine"):
        read_archive(archive(tmp_path / "b.pt", dump({"x": tensor()}), big_endian))
    whole = archive(tmp_path / "t.pt", dump({"x": tensor()}), {**FLOATS, "archive/date/0": b"\x01" * 16}).read_bytes()
    (tmp_path / "t.pt").write_bytes(whole.replace(b"archive/date/0", b"archive/data/0"))
    with pytest.raises(CheckpointError, match="holds archive/data/0 twice"):
        read_archive(tmp_path / "t.pt")
    escaping = {**FLOATS, "archive/../../../escaped": b"x"}
    read_archive(archive(tmp_path / "p.pt", dump({"x": tensor()}), escaping))
    assert not list(tmp_path.rglob("escaped"))


def test_an_entry_whose_own_header_points_outside_the_file(tmp_path):
    path = archive(tmp_path / "a.pt", dump({"x": tensor()}), FLOATS)
    whole = bytearray(path.read_bytes())
    at = whole.index(b"archive/data/0")
    whole[at - 2 : at] = struct.pack("<H", 65535)  # the length of the extra field of this entry
    path.write_bytes(whole)
    with pytest.raises(CheckpointError, match="ends after the file does"):
        read_archive(path)


def test_a_file_from_before_pytorch_1_6_says_how_to_save_it_again(open_clip, tmp_path):
    import torch

    torch.save({"x": torch.zeros(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match=r"load it with PyTorch and torch.save it again"):
        convert.read(tmp_path / "old.pt")


def test_a_torchscript_archive_that_is_no_clip(open_clip, tmp_path):
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(torch.nn.Linear(2, 3)).save(str(tmp_path / "linear.pt"))
    with pytest.raises(CheckpointError, match="holds bias, weight: neither OpenCLIP's names"):
        convert.read(tmp_path / "linear.pt")


def test_what_is_no_weight_file_at_all(tmp_path):
    (tmp_path / "pointer.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(CheckpointError, match="only a Git LFS pointer"):
        convert.read(tmp_path / "pointer.safetensors")
    (tmp_path / "page.bin").write_bytes(b"<html>404</html>")
    with pytest.raises(CheckpointError, match="not a whole PyTorch file"):
        convert.read(tmp_path / "page.bin")
    (tmp_path / "empty.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a whole PyTorch file"):
        convert.read(tmp_path / "empty.pt")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"visual.proj": "../outside.safetensors"}, "points at '../outside.safetensors'"),
        ({"visual.proj": "/etc/passwd"}, "points at '/etc/passwd'"),
        ({"visual.proj": "gone.safetensors"}, "lacks gone.safetensors"),
        ({"visual.proj": 3}, "points at '3'"),
        ({}, "has no weight_map"),
        (None, "has no weight_map"),
    ],
)
def test_an_index_that_points_elsewhere(tmp_path, table, message):
    (tmp_path / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    with pytest.raises((CheckpointError, FileNotFoundError), match=message):
        convert.read(tmp_path, preprocess="openai-bicubic-shortest")


def test_two_shards_with_the_same_tensor(open_clip, tmp_path):
    checkpoints.make_hf(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "a.safetensors")
    (tmp_path / "b.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes())
    index = {"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="which another shard holds already"):
        convert.read(tmp_path)


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_what_torch_saves_after_expand_is_refused_for_what_it_is(tmp_path, shape):
    torch = pytest.importorskip("torch")
    path = tmp_path / "weights.pt"
    torch.save({"a": torch.arange(4.0).expand(shape)}, path)
    with pytest.raises(CheckpointError, match=r"repeats 4 stored numbers.*expand.*contiguous\(\)"):
        read_archive(path)
    # Views that repeat nothing are read as they are.
    whole = torch.arange(12.0).reshape(3, 4)
    for view in (whole.t(), whole[:, 1:3], whole[1], whole.as_strided((3, 3), (2, 1)), whole[:0]):
        torch.save({"a": view}, path)
        held = read_archive(path)
        tensor = held["a"] if isinstance(held, dict) else held[0]["a"]
        np.testing.assert_array_equal(tensor.read(), view.numpy())
