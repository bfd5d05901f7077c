"""Image files that mean harm or are broken: a format that runs programs, pipes, bombs, damage."""

import io
import os
import re
import struct
import warnings
import zlib

import numpy as np
import pytest
from fuzzing import DAMAGE, damaged, fuzz, told
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image

from jaxclip.config import PreprocessConfig
from jaxclip.data.masks.mask_files import read_mask
from jaxclip.data.masks.picture_files import PictureReader
from jaxclip.data.walk import images_below
from jaxclip.files.images import FORMATS, open_image, suffixes
from jaxclip.preprocess import preprocess

CONFIG = PreprocessConfig(
    size=(8, 8), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), interpolation="bicubic", resize_mode="squash"
)
EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\nshowpage\n%%EOF\n"
READERS = {
    "preprocess": lambda path: preprocess(path, CONFIG),
    "bytes": lambda path: preprocess(path.read_bytes(), CONFIG),
    "picture": lambda path: PictureReader().read(path, path.name),
    "mask": read_mask,
}


def png(width, height, pixels):
    """A greyscale PNG that may claim another size than it has pixels for."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.eps", "a"])
def test_postscript_never_reaches_ghostscript(tmp_path, monkeypatch, reader, name):
    """Pillow goes by content and not by name, so a .png can be PostScript, which is a program."""
    asked = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: asked.append(1) or Image.new("L", (9, 9)).im)
    (tmp_path / name).write_bytes(EPS)
    with Image.open(tmp_path / name) as opened:
        opened.load()
    assert len(asked) == 1, "Pillow by itself should have run it, or this test shows nothing"
    with pytest.raises(ValueError, match=r"(image|mask) that Pillow can read"):
        READERS[reader](tmp_path / name)
    assert len(asked) == 1


def test_only_photographs_formats_count_as_images(tmp_path):
    for name in ("a.jpg", "b.PNG", "c.eps", "d.pdf", "e.h5", "f.mpg", "g.psd", "h.webp"):
        (tmp_path / name).touch()
    assert images_below(tmp_path) == (
        ["a.jpg", "b.PNG", "h.webp"],
        {".eps": 1, ".pdf": 1, ".h5": 1, ".mpg": 1, ".psd": 1},
    )
    assert not {".eps", ".ps", ".wmf", ".pdf", ".h5"} & suffixes()
    assert not {"EPS", "WMF", "PDF", "HDF5", "GRIB", "FITS"} & set(FORMATS)


@pytest.mark.parametrize("reader", ["preprocess", "picture", "mask"])
def test_a_pipe_or_a_device_is_refused_and_not_waited_for(tmp_path, reader):
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    for name in ("a.png", "b.png"):
        with pytest.raises(ValueError, match="a folder, a pipe or a device"):
            READERS[reader](tmp_path / name)


@pytest.mark.parametrize("side", [10_000, 14_000, 60_000])
@pytest.mark.parametrize("reader", READERS)
def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(tmp_path, reader, side):
    """Up to twice its limit Pillow only warns: half a gigabyte of pixels for each thread that reads."""
    (tmp_path / "a.png").write_bytes(png(side, side, b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        assert re.search("more than Pillow.s limit", told(READERS[reader], tmp_path / "a.png"))


def test_the_limit_can_be_raised_for_pictures_one_trusts(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
    with pytest.raises(ValueError, match="more than Pillow's limit of 99 pixels"):
        preprocess(png(10, 10, b"\0" * 110), CONFIG)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert preprocess(png(10, 10, b"\0" * 110), CONFIG).shape == (1, 8, 8, 3)


def test_a_picture_that_ends_early_is_refused(tmp_path):
    """Half a picture would be half grey; whether Pillow should fill it up is not left to a global setting."""
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        with pytest.raises(ValueError, match="image 0"):
            preprocess(buffer.getvalue()[: len(buffer.getvalue()) // 2], CONFIG)


def encoded():
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    for kind in ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(noise).save(buffer, kind)
        yield buffer.getvalue()


WHOLE = list(encoded())


@fuzz(whole=st.sampled_from(WHOLE), damage=DAMAGE)
def test_any_damage_is_a_clear_error_or_an_image(folder, whole, damage):
    data = damaged(whole, damage)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own remarks about metadata
        assert (told(preprocess, data, CONFIG) or "image 0:").startswith("image 0:")
        assert (told(read_mask, io.BytesIO(data), "a mask") or "a mask").startswith("a mask")


@fuzz(data=st.binary(max_size=200))
def test_any_bytes(folder, data):
    with pytest.raises(ValueError, match="image 0:"):
        preprocess(data, CONFIG)


def test_what_is_opened_is_closed(tmp_path):
    """A data set of a million files must not keep a million open; ResourceWarning is an error in tests."""
    (tmp_path / "a.png").write_bytes(png(10, 10, b"\0" * 110))
    with open_image(tmp_path / "a.png") as opened:
        assert opened.size == (10, 10)
