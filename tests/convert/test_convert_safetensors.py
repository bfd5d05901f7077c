"""safetensors files: what a header claims is checked against the file before anything is read."""

import json
import struct

import numpy as np
import pytest

from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.safetensors import open_safetensors, write_safetensors


def header(fields, data=b"\0" * 16, length=None):
    text = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype="F32", shape=(4,), offsets=(0, 16)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header would be 0 bytes in a file of 0"),
        (b"\x01\x00", "header would be"),
        (header({"x": entry()}, length=2**60), "its header would be"),
        (header({"x": entry()}, length=10**6), "its header would be"),
        (header(b"not json at all"), "its header is not JSON"),
        (header(b"[" * 100_000), "its header is not JSON"),
        (header(b'"text"'), "not a table of tensors"),
        (header(b'{"x": 1, "x": 2}'), "a name occurs twice"),
        (header({"x": 3}), "'x' lacks dtype"),
        (header({"x": {"dtype": "F32", "shape": [4]}}), "'x' lacks dtype, shape or data_offsets"),
        (header({"x": entry(dtype="F8_E4M3")}), "float8 .F8_E4M3. numbers, and only float32"),
        (header({"x": entry(dtype="F128")}), "has dtype 'F128'"),
        (header({"x": entry(shape=(-4,))}), "not counts"),
        (header({"x": entry(shape=(4.0,))}), "not counts"),
        (header({"x": entry(offsets=(-16, 0))}), "not counts"),
        (header({"x": entry(shape=(5,))}), "cannot take 16 bytes"),
        (header({"x": entry(shape=(2**62, 4), offsets=(0, 0))}), "cannot take 0 bytes"),
        (header({"x": entry(), "y": entry(shape=(2,), offsets=(8, 16))}), "'y' overlaps its neighbour"),
        (header({"x": entry(shape=(2,), offsets=(8, 16))}), "'x' leaves a hole"),
        (header({"x": entry(shape=(8,), offsets=(0, 32))}), "tensors end at byte"),
        (header({"x": entry(shape=(2,), offsets=(0, 8))}), "tensors end at byte"),
    ],
)
def test_a_safetensors_header_that_lies(tmp_path, content, message):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        open_safetensors(tmp_path / "x.safetensors")


def test_a_file_that_shrinks_between_header_and_reading(tmp_path):
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"x": np.ones(1000, np.float32)})
    tensor = open_safetensors(path)["x"]
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointError, match="ends 8 bytes before its tensors do"):
        tensor.read()


def test_our_safetensors_files_are_everyones(tmp_path):
    numpy_reader = pytest.importorskip("safetensors.numpy")
    arrays = {"a": np.arange(6, dtype=np.float16).reshape(2, 3), "b": np.float32(3.5).reshape(())}
    write_safetensors(tmp_path / "x.safetensors", arrays)
    theirs = numpy_reader.load_file(tmp_path / "x.safetensors")
    assert {name: array.tolist() for name, array in theirs.items()} == {n: a.tolist() for n, a in arrays.items()}
