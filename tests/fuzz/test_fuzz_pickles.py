"""Pickles that want to end the process, its memory or its patience, and pickles of random instructions."""

import io
import pickle
import pickletools
import re
import struct
import zipfile
from pathlib import Path

import pytest
from fuzzing import DAMAGE, alone, damaged, fuzz, told
from hypothesis import strategies as st
from test_convert_hostile import FLOATS, Call, archive, dump, tensor

from jaxclip.convert import CheckpointError
from jaxclip.convert.readers.torch_zip import _Reader, read_archive, tensors_of_module
from jaxclip.convert.readers.unpickle import ACTIONS, CONSTANTS, Attributes, Unpickler

DEEP = 150_000
TUPLES, LISTS = b")" + b"\x85" * DEEP, b"]" * DEEP + b"a" * (DEEP - 1)


def body(instructions):
    return b"\x80\x02" + instructions + b"."


def test_deep_nesting_does_not_end_python(tmp_path):
    """In a process of its own, as a pickle that overflows the stack takes the process with it: hashing such a tuple
    is enough, and Python's own unpickler does so where it is a key."""
    used = {
        "value": b"}X\x01\x00\x00\x00a" + TUPLES + b"s",
        "list": b"}X\x01\x00\x00\x00a" + LISTS + b"s",
        "key": b"}" + TUPLES + b"Ns",
        "name": TUPLES + b"N\x93",
        "storage": TUPLES + b"Q",
        "shape": b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00" + TUPLES + b"NtR",
        "state": b"c__torch__\nA\n)R" + TUPLES + b"b",
        "set": b"cbuiltins\nfrozenset\n(" + TUPLES + b"tR",
    }
    paths = [archive(tmp_path / f"{use}.pt", body(pickled)) for use, pickled in used.items()]
    said = alone("convert.read(argument)", paths, imports="from jaxclip import convert")
    assert len(said) == len(paths)
    assert all(re.search("no state dict|broken pickle|no tensor storage|no tensor at all", line) for line in said), said


def doubled(times):
    """A tuple of itself twice, so many times: small to write, endless to hash, compare or print."""
    return b")q\x00" + b"".join(b"h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(times))


@pytest.mark.parametrize(
    "pickled",
    [
        b"}" + doubled(60) + b"Ns",
        doubled(60) + b"Q",
        b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n" + doubled(60) + b"NK\x01tQ",
        b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00" + doubled(60) + b"h\x00tR",
        b"cbuiltins\nset\n(" + doubled(60) + b"tR",
        b"X\x01\x00\x00\x00a" + doubled(60) + b"\x93",
    ],
)
def test_what_doubles_is_neither_hashed_nor_put_into_words(tmp_path, unchecked, pickled):
    path = archive(tmp_path / "a.pt", body(pickled + b"0]"))
    assert (told(read_archive, path) or "a.pt").startswith("a.pt")


@pytest.mark.parametrize(
    "again",
    [
        b"ctorch\nSize\n(h\x00tR0",
        b"c__torch__\nA\n)Rh\x01b0",
        b"ccollections\nOrderedDict\n(h\x00tR0",
    ],
    ids=["sizes", "attributes", "table"],
)
def test_a_list_is_not_copied_as_often_as_a_pickle_asks(again):
    """A list of 20,000 and 20,000 copies of it would be 3 GB."""
    wide = b"]q\x00(" + b"N" * 20_000 + b"e0}q\x01(" + b"".join(
        b"J" + struct.pack("<i", n) + b"N" for n in range(20_000)
    ) + b"u0"  # fmt: skip
    with pytest.raises((ValueError, CheckpointError), match=r"copies more|no short list|table of pairs"):
        Unpickler(body(wide + again * 20_000 + b"N"), find, lambda pid: None).read()


def find(module, name):
    return _Reader(Path("a.pt"), "", {})._find(module, name)


def test_keys_cannot_be_chosen_to_collide():
    number = 2**61 - 1  # Python's hash of any multiple of it is 0
    with pytest.raises(ValueError, match="a key of the kind int"):
        Unpickler(pickle.dumps({number: None, 2 * number: None}), find, print).read()


def test_modules_that_hold_each_other_end():
    ring, wide = Attributes(), Attributes()
    ring["self"] = ring
    for _ in range(30):
        wide = Attributes({"a": wide, "b": wide})
    for module in (ring, wide):
        with pytest.raises(CheckpointError, match="this is no CLIP"):
            tensors_of_module(module)


def test_an_entry_that_unpacks_to_gigabytes(tmp_path):
    """The pickle and the byte order are the only entries that are read whole, and both are read as they are stored."""
    for name in ("byteorder", "data.pkl"):
        path = tmp_path / f"{name}.pt"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
            if name == "byteorder":
                file.writestr("archive/data.pkl", dump({"x": tensor()}), zipfile.ZIP_STORED)
            with file.open(f"archive/{name}", "w") as entry:
                for _ in range(60):
                    entry.write(bytes(2**20))
        with pytest.raises(CheckpointError, match="compressed"):
            read_archive(path)


def test_a_list_of_entries_that_would_take_gigabytes(tmp_path):
    """zipfile reads all of the list that the end of the file promises; a sparse file promises it for nothing."""
    path = tmp_path / "a.pt"
    size = 3 * 2**30
    with path.open("wb") as file:
        file.write(b"PK\x03\x04")
        file.truncate(size)
        file.seek(size)
        file.write(b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, size - 100, 50, 0))
    with pytest.raises(CheckpointError, match="list of entries would take"):
        read_archive(path)


WHOLE = dump({"state_dict": {"a": tensor(), "b": tensor(offset=2, shape=(2,), strides=(1,))}, "epoch": 3})


@fuzz(damage=DAMAGE)
def test_any_damage_to_a_pickle(folder, damage):
    path = archive(folder / "a.pt", damaged(WHOLE, damage), FLOATS)
    assert (told(read_archive, path) or "a.pt").startswith("a.pt")


NAMES = ["torch._utils _rebuild_tensor_v2", "torch FloatStorage", "collections OrderedDict", "torch Size", "os system"]


def instruction(op):
    """An instruction with any argument it can have."""
    arguments = {
        "GLOBAL": st.sampled_from(NAMES).map(lambda words: words.replace(" ", "\n").encode() + b"\n"),
        "BINUNICODE": st.sampled_from(["storage", "0", "cpu", "a"]).map(
            lambda word: struct.pack("<I", len(word)) + word.encode()
        ),
        **{name: st.integers(0, 3).map(lambda n: bytes([n])) for name in ("BINPUT", "BINGET", "BININT1")},
        "BININT": st.integers(-(2**31), 2**31 - 1).map(lambda n: struct.pack("<i", n)),
        "LONG1": st.binary(max_size=9).map(lambda data: bytes([len(data)]) + data),
    }
    return arguments.get(op.name, st.just(b"") if op.arg is None else st.nothing()).map(
        op.code.encode("latin-1").__add__
    )


KNOWN = [op for op in pickletools.opcodes if op.name in {*ACTIONS, *CONSTANTS} and op.name != "STOP"]


@fuzz(200, instructions=st.lists(st.one_of([instruction(op) for op in KNOWN]), max_size=40))
def test_any_instructions(folder, instructions):
    path = archive(folder / "a.pt", body(b"".join(instructions)), FLOATS)
    assert (told(read_archive, path) or "a.pt").startswith("a.pt")


PLAIN = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    PLAIN,
    lambda inside: st.lists(inside) | st.tuples(inside, inside) | st.dictionaries(st.text(max_size=5), inside),
    max_leaves=20,
)


@fuzz(value=VALUES, protocol=st.integers(3, 4))
def test_it_reads_what_python_writes(folder, value, protocol):
    """Python's own pickler is the oracle, for all that a checkpoint may hold beside its weights."""
    stream = io.BytesIO()
    pickle.Pickler(stream, protocol).dump(value)
    assert Unpickler(stream.getvalue(), find, print).read() == value


def test_calls_in_the_middle_of_a_pickle_are_inert(tmp_path):
    path = archive(tmp_path / "a.pt", dump([Call("builtins", "set", [1]), Call("builtins", "complex", 1, 2)]))
    assert read_archive(path)[0] == [None, None]
