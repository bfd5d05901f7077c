"""ImageNet-Segmentation's HDF5 file, broken or made up; and names of data sets, of which none asks the network."""

import faulthandler
import io
import os
import zlib

import h5py
import numpy as np
import pytest
from fuzzing import DAMAGE, alone, damaged, fuzz, told
from hypothesis import strategies as st

from jaxclip.data.masks.open_masked import open_masked

PICTURE, MASK = np.full((3, 5, 4), 7, np.uint8), np.ones((5, 4), np.uint8)


def segmentation(picture=PICTURE, **options):
    """A file as gtsegs_ijcv.mat is, of one picture."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        cells = [file.create_dataset(f"value/{name}", (1, 1), h5py.ref_dtype) for name in ("img", "gt")]
        file.create_dataset("#refs#/i", **({"data": picture} | options))
        file["#refs#/m"] = MASK
        inner = file.create_dataset("#refs#/g", (1, 1), h5py.ref_dtype)
        inner[0, 0] = file["#refs#/m"].ref
        cells[0][0, 0], cells[1][0, 0] = file["#refs#/i"].ref, inner.ref
    return buffer.getvalue()


def read(folder, data):
    (folder / "a.mat").write_bytes(data)
    return open_masked(folder / "a.mat")[0]


def test_a_whole_one(tmp_path):
    found = read(tmp_path, segmentation())
    assert (found.name, found.image.size) == ("00000", (5, 4))
    np.testing.assert_array_equal(found.mask, MASK.T)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": None, "shape": (3, 2**20, 2**20), "dtype": "u1", "chunks": (3, 64, 64)}, "expected pixels"),
        ({"data": None, "shape": (3, 5, 4), "dtype": "u1", "external": [("/etc/passwd", 0, 60)]}, "in another file"),
        ({"data": None, "shape": (3, 5, 4), "dtype": h5py.string_dtype()}, "expected pixels"),
        ({"data": np.ones(9, np.uint8)}, "expected pixels"),
    ],
    ids=["declares", "elsewhere", "words", "rank"],
)
def test_pixels_that_are_none(tmp_path, options, message):
    with pytest.raises(ValueError, match=f"00000 of .* cannot be read: .*{message}"):
        read(tmp_path, segmentation(**options))


def repacked(packed, **options):
    """A file whose picture is stored as these bytes."""
    buffer = io.BytesIO(segmentation(**options))
    with h5py.File(buffer, "r+") as file:
        file["#refs#/i"].id.write_direct_chunk((0, 0, 0), packed)
    return buffer.getvalue()


def test_pieces_that_unpack_to_gigabytes(tmp_path):
    """In a thousandth of that, and declared with less than one of them."""
    bomb, wide = zlib.compress(bytes(2**30)), {"chunks": (3, 512, 512), "maxshape": (3, None, None)}
    files = {
        "gzip": repacked(bomb, compression="gzip", **wide),
        "three": repacked(bomb, compression="gzip", shuffle=True, fletcher32=True, **wide),
        "long": repacked(bytes(2000), chunks=(3, 5, 4), compression="gzip"),
        "other": segmentation(chunks=(3, 5, 4), compression="lzf"),
        "large": segmentation(chunks=(3, 2**14, 2**14), maxshape=(3, None, None), compression="gzip"),
    }
    for name, data in files.items():
        (tmp_path / f"{name}.mat").write_bytes(data)
    imports = "import h5py; from jaxclip.data.masks.open_masked import open_masked"
    said = alone("open_masked(argument)[0]", [tmp_path / f"{name}.mat" for name in files], imports=imports, gigabytes=2)
    wanted = ["786432 bytes unpacks to more", "786436 bytes unpacks to more", "a piece of 60 bytes takes 2000"]
    wanted += ["filters [32000]", "larger than a picture"]
    assert [some for some, line in zip(wanted, said, strict=True) if some not in line] == [], said


def test_pieces_of_every_kind_that_are_whole(tmp_path):
    for options in ({}, {"shuffle": True}, {"fletcher32": True}, {"shuffle": True, "fletcher32": True}):
        for packed in ({}, {"compression": "gzip"}):
            found = read(tmp_path, segmentation(chunks=(2, 3, 3), **options, **packed))
            np.testing.assert_array_equal(np.asarray(found.image), PICTURE.T)


def test_links_into_another_file(tmp_path):
    (tmp_path / "private.mat").write_bytes(segmentation())
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["value"] = h5py.ExternalLink("private.mat", "value")
    with pytest.raises(ValueError, match="may lead into another file"):
        open_masked(tmp_path / "a.mat")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs POSIX's pipes")
@pytest.mark.parametrize("where", ["value", "value/img", "soft", "masks"])
def test_links_are_refused_before_they_are_followed(tmp_path, where):
    """HDF5 opens what one leads to, and would wait for the other end of a pipe."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a.mat").write_bytes(segmentation())
    with h5py.File(tmp_path / "a.mat", "r+") as file:
        if where == "masks":
            del file["value/gt"]
            file.create_dataset("value/gt", (1, 1), "u1", external=[("pipe", 0, 1)])
        else:
            del file["value" if where == "soft" else where]
            file["other" if where == "soft" else where] = h5py.ExternalLink("pipe", "value")
            if where == "soft":
                file["value"] = h5py.SoftLink("/other")
    faulthandler.dump_traceback_later(60, exit=True)
    with pytest.raises(ValueError, match=r"may lead into another file|arrays of references"):
        open_masked(tmp_path / "a.mat")
    faulthandler.cancel_dump_traceback_later()


def test_references_that_are_numbers(tmp_path):
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["value/img"], file["value/gt"] = np.ones((1, 1)), np.ones((1, 1))
    with pytest.raises(ValueError, match="must be HDF5 with value/img and value/gt"):
        open_masked(tmp_path / "a.mat")


@fuzz(40, damage=DAMAGE, packed=st.booleans())
def test_any_damage(folder, damage, packed):
    whole = segmentation(compression="gzip") if packed else segmentation()
    assert "a.mat" in (told(read, folder, damaged(whole, damage)) or "a.mat")


def test_no_name_of_a_data_set_asks_the_network(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    names = ["mnist", "voc/2012", "cifar10:3.0.2", "photos/missing", "nobody:set", "huggingface:mnist"]
    said = alone(
        "open_data(argument)",
        names,
        imports="import tensorflow_datasets, jaxclip.data.tfds; from jaxclip.data.open_data import open_data",
        gigabytes=8,
    )
    assert len(said) == len(names)
    assert all(line.startswith(f"refused: {name}") for name, line in zip(names, said, strict=True)), said
