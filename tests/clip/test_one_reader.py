"""One file is the same pixels everywhere: in the model's input, whichever command asks, and in what is shown of it."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

import jaxclip.report.decompose
import jaxclip.report.heatmap
from jaxclip.analyses.segmentation.segment_data import view
from jaxclip.clip import Clip
from jaxclip.config import PreprocessConfig
from jaxclip.data.masks.open_masked import open_masked
from jaxclip.data.scenes import CHECKPOINT, scene
from jaxclip.files import images
from jaxclip.files.images import PILLOWS_LIMIT, explained, most_pixels, open_image, read_picture, suffixes
from jaxclip.preprocess import preprocess, resize, shown, unnormalize

CONFIG = PreprocessConfig(
    size=(64, 64), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), interpolation="bicubic", resize_mode="shortest"
)
PHOTO = Image.fromarray(scene(0, "test", 7)["image"]).resize((90, 70), Image.Resampling.BICUBIC)
GREY = np.asarray(PHOTO.convert("L"))


def with_alpha(mode="RGBA"):
    alpha = np.zeros((70, 90), np.uint8)
    alpha[10:60, 20:70] = 255
    alpha[30:35] = 100
    found = PHOTO.convert("RGB" if mode == "RGBA" else "L")
    found.putalpha(Image.fromarray(alpha))
    return found


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES = {
    "rgb.png": (PHOTO, {}),
    "jpeg.jpg": (PHOTO, {}),
    "cmyk.jpg": (PHOTO.convert("CMYK"), {}),
    "grey.png": (PHOTO.convert("L"), {}),
    "grey alpha.png": (with_alpha("LA"), {}),
    "alpha.png": (with_alpha(), {}),
    "alpha.webp": (with_alpha(), {"lossless": True}),
    "alpha.tif": (with_alpha(), {}),
    "palette.png": (PHOTO.quantize(64), {}),
    "palette.gif": (PHOTO.quantize(32), {}),
    "see-through palette.png": (PHOTO.quantize(64), {"transparency": 3}),
    "bit.png": (PHOTO.convert("1"), {}),
    "bit.tif": (PHOTO.convert("1"), {}),
    "sixteen.png": (Image.fromarray(GREY.astype(np.uint16) * 257), {}),
    "sixteen.tif": (Image.fromarray(GREY.astype(np.uint16) * 257), {}),
    "sixteen.pgm": (Image.fromarray(GREY.astype(np.uint16) * 257), {}),
    "turned.jpg": (PHOTO, {"exif": turned()}),
}


def test_all_that_read_give_the_model_the_same_pixels(tmp_path, scenes_clip):
    for name, (picture, options) in FILES.items():
        picture.save(tmp_path / name, **options)
        wanted = preprocess([tmp_path / name], CONFIG, apply_exif=True)
        one = open_masked(tmp_path / name, apply_exif=True)[0]
        asked = scenes_clip(CONFIG)
        np.testing.assert_array_equal(view(asked, [one])[0], wanted, err_msg=name)
        # Windows resize to a size of their own: that of the crop's here, so that it is the same once more.
        (height, width) = (round(64 * side / min(one.image.size)) for side in one.image.size[::-1])
        whole = resize(one.image, (height, width), CONFIG)
        left, top = round((width - 64) / 2), round((height - 64) / 2)
        cut = whole[top : top + 64, left : left + 64]
        np.testing.assert_array_equal(cut, unnormalize(wanted, CONFIG)[0], err_msg=name)


def test_what_is_shown_is_what_the_model_sees(tmp_path):
    """Of a picture of the model's own size nothing is resized, and both are equal to the bit; others are near."""
    for name, (picture, options) in FILES.items():
        for size in ((64, 64), (90, 64)):
            drawn = picture.crop((0, 0, *size))
            drawn.save(tmp_path / name, **options)
            read = read_picture(tmp_path / name, apply_exif=False).image
            wanted = unnormalize(preprocess([tmp_path / name], CONFIG, apply_exif=False), CONFIG)[0]
            seen = shown(read, CONFIG)
            np.testing.assert_array_equal(seen[:, (size[0] - 64) // 2 :][:, :64], wanted, err_msg=name)
        picture.resize((180, 140), Image.Resampling.NEAREST).save(tmp_path / name, **options)
        read = read_picture(tmp_path / name, apply_exif=False).image
        wanted = unnormalize(preprocess([tmp_path / name], CONFIG, apply_exif=False), CONFIG)[0]
        seen = np.asarray(Image.fromarray(shown(read, CONFIG)).resize((82, 64), Image.Resampling.BOX))[:, 9:73]
        off = np.abs(seen.astype(float) - wanted).mean()
        assert off < (60 if picture.mode in ("1", "P") else 12), (name, off)  # these are resized by the nearest pixel


def test_hidden_colours_are_not_shown_where_the_model_does_not_see_them(tmp_path):
    hidden = Image.new("RGBA", (200, 100), (250, 10, 10, 0))
    hidden.save(tmp_path / "a.png")
    read = read_picture(tmp_path / "a.png").image
    assert unnormalize(preprocess(tmp_path / "a.png", CONFIG), CONFIG).max() == shown(read, CONFIG).max() == 0
    own = read.resize((64, 64), Image.Resampling.NEAREST)  # not resized, so its colours are there
    assert unnormalize(preprocess(own, CONFIG), CONFIG)[..., 0].min() == shown(own, CONFIG)[..., 0].min() == 250


@pytest.mark.parametrize("kind", ["heatmap", "decompose"])
def test_figures_show_what_the_model_was_given(tmp_path, monkeypatch, kind):
    """Sixteen bits, the mode that figures and model were apart by most."""
    clip = jaxclip.load(CHECKPOINT)
    drawn = []
    names = ("alpha.png", "sixteen.png", "palette.png")
    if kind == "heatmap":
        module, figure = jaxclip.report.heatmap, "overlay_figure"
    else:
        module, figure = jaxclip.report.decompose, "map_figure"
    real = getattr(module, figure)
    monkeypatch.setattr(module, figure, lambda picture, *rest: drawn.append(picture) or real(picture, *rest))
    for name in names:
        FILES[name][0].save(tmp_path / name)
        if kind == "heatmap":
            module.heatmap_picture(clip, tmp_path / name, ["a star"], tmp_path / "out")
        else:
            module.decompose_pictures(clip, [tmp_path / name], ["a star"], tmp_path / "out", relative=False)
        np.testing.assert_array_equal(drawn[-1], shown(read_picture(tmp_path / name).image, clip.config.preprocess))


@pytest.fixture
def scenes_clip(monkeypatch):
    """Something with a preprocessing, which is all that `view` asks for."""

    class Config:
        preprocess = CONFIG

    def of(config):
        made = Clip.__new__(Clip)
        object.__setattr__(made, "config", Config)
        return made

    return of


FRAMES = [PHOTO, ImageOps.invert(PHOTO), ImageOps.flip(PHOTO)]


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "tif"])
def test_of_several_frames_the_first_is_read_and_that_is_said(tmp_path, suffix):
    path, first = tmp_path / f"several.{suffix}", tmp_path / f"one.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    FRAMES[0].save(path, save_all=True, append_images=FRAMES[1:], **lossless)
    FRAMES[0].save(first, **lossless)
    wanted = preprocess(first, CONFIG)
    said = set()
    with pytest.warns(UserWarning, match=rf"several\.{suffix} holds several frames or pages, .* first alone") as warned:
        read = preprocess([path, path], CONFIG, said=said)
    np.testing.assert_array_equal(read, np.concatenate([wanted, wanted]))
    assert len(warned) == 1
    preprocess(path, CONFIG, said=said)  # which would be an error if it warned again


def test_a_photograph_with_others_behind_it_is_a_photograph(tmp_path):
    FRAMES[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=FRAMES[1:])
    assert read_picture(tmp_path / "a.jpg").is_first is False


def test_a_large_photograph_is_read_and_a_small_file_of_as_many_pixels_is_not(tmp_path, monkeypatch):
    assert most_pixels(1) == PILLOWS_LIMIT == 89_478_485
    assert most_pixels(4_000_000) == 400_000_000
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert most_pixels(4_000_000) == 1000, "who sets a limit means it"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert most_pixels(1) is None
    monkeypatch.undo()
    noise = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    files = {}
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"):
        files[kind] = tmp_path / f"a.{kind.lower()}"
        Image.fromarray(noise).save(files[kind])
    Image.new("RGB", (3000, 3000)).save(tmp_path / "flat.png")
    small = replace(CONFIG, size=(16, 16))
    wanted = {kind: preprocess(path, small) for kind, path in files.items()}
    # As if Pillow's own limit were lower: it warns of the first and refuses the second, and neither is its business.
    for limit in (5000, 1000):
        monkeypatch.setattr(images, "PILLOWS_LIMIT", limit)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        for kind, path in files.items():
            np.testing.assert_array_equal(preprocess(path, small), wanted[kind], err_msg=kind)
            np.testing.assert_array_equal(preprocess(path.read_bytes(), small), wanted[kind], err_msg=kind)
        with pytest.raises(ValueError, match=r"flat.png: it has more than .* bytes are few .*--any-size"):
            preprocess(tmp_path / "flat.png", small)


HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 40


def test_heic_without_its_reader_is_told_by_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_known", lambda: ("JPEG", "PNG"))
    (tmp_path / "a.jpg").write_bytes(HEIC)
    for read in (lambda path: preprocess(path, CONFIG), lambda path: preprocess(path.read_bytes(), CONFIG)):
        with pytest.raises(ValueError, match=r"this is HEIC.*pip install 'jaxclip\[heic\]'"):
            read(tmp_path / "a.jpg")


def test_heic_is_read_where_its_reader_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    assert ".heic" in suffixes()
    pillow_heif.from_pillow(PHOTO).save(tmp_path / "a.heic", quality=90)
    with explained("a.heic"), open_image(tmp_path / "a.heic") as opened:
        assert opened.size == PHOTO.size
    read, wanted = (unnormalize(preprocess(one, CONFIG), CONFIG) for one in (tmp_path / "a.heic", PHOTO))
    assert np.abs(read.astype(float) - wanted).mean() < 4  # what the codec loses
    np.testing.assert_array_equal(unnormalize(preprocess((tmp_path / "a.heic").read_bytes(), CONFIG), CONFIG), read)
