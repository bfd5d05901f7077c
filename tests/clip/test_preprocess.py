"""Preprocessing against open_clip's own inference transform, bit for bit, and what happens to bad images."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from jaxclip.config import PreprocessConfig
from jaxclip.preprocess import check_images, check_values, crop_box, normalize, preprocess, unnormalize

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def config_of(size=(64, 64), interpolation="bicubic", resize_mode="shortest", fill=0) -> PreprocessConfig:
    return PreprocessConfig(
        size=size, mean=MEAN, std=STD, interpolation=interpolation, resize_mode=resize_mode, fill=fill
    )


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), np.uint8)
    image = Image.fromarray(pixels)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(pixels[..., 0]))
    elif mode == "PA":
        image = image.convert("P").convert("PA")
    elif mode.startswith("P "):
        image = image.convert("P")
        image.info["transparency"] = 3 if mode == "P index" else bytes(range(256))
    return image if mode.startswith("P ") else image.convert(mode)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.fixture(scope="module")
def reference(open_clip):
    """open_clip's transform for a config, with channels moved last."""
    from open_clip.transform import image_transform

    def build(config):
        transform = image_transform(
            config.size, is_train=False, mean=config.mean, std=config.std, resize_mode=config.resize_mode,
            interpolation=config.interpolation, fill_color=config.fill,
        )  # fmt: skip
        return lambda image: transform(image).numpy().transpose(1, 2, 0)

    return build


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_photographs_equal_open_clip(shared, reference, resize_mode, interpolation):
    paths = sorted((shared / "photos").glob("*.JPEG"))
    assert len(paths) == 60
    if (resize_mode, interpolation) != ("shortest", "bicubic"):
        paths = paths[::6]
    config = config_of((224, 224), interpolation, resize_mode)
    expected = reference(config)
    for path in paths:
        np.testing.assert_array_equal(preprocess(path, config)[0], expected(Image.open(path)), err_msg=path.name)


@pytest.mark.parametrize("fill", [7, (3, 120, 255)])
def test_padding_in_any_colour_equals_open_clip(reference, fill):
    config = config_of((32, 32), "bicubic", "longest", fill)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 50, 3), np.uint8))
    found = preprocess(image, config)[0]
    np.testing.assert_array_equal(found, reference(config)(image))
    np.testing.assert_array_equal(unnormalize(found[None], config)[0, 0, 0], np.full(3, fill))
    # OpenCLIP fails where the image has another number of channels than the colour.
    grey = unnormalize(preprocess(image.convert("L"), config), config)
    np.testing.assert_array_equal(grey[0, -1, -1], np.full(3, fill))


MODES = ["1", "L", "LA", "P", "P index", "P bytes", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV"]


@pytest.mark.filterwarnings("ignore:Palette images with Transparency:UserWarning")  # the reference's, not ours
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
def test_every_mode_equals_open_clip(reference, resize_mode, mode):
    for size in [(48, 48), (40, 75), (75, 40)]:
        config = config_of(size, resize_mode=resize_mode, fill=77 if resize_mode == "longest" else 0)
        for width, height in [(40, 71), (71, 40), (48, 49), (300, 17), (48, 48)]:
            image = noise(width, height, mode)
            np.testing.assert_array_equal(preprocess(image, config)[0], reference(config)(image))


sides = st.integers(1, 90)


@settings(deadline=None, max_examples=60)
@given(
    sides, sides, sides, sides, st.sampled_from(["shortest", "squash", "longest"]),
    st.sampled_from(["bicubic", "bilinear"]), st.integers(0, 255),
)  # fmt: skip
def test_any_size_equals_open_clip(reference, width, height, to_width, to_height, resize_mode, interpolation, fill):
    config = config_of((to_height, to_width), interpolation, resize_mode, fill)
    image = noise(width, height)
    try:
        expected = reference(config)(image)
    except ValueError:  # a side that rounds to no pixel at all
        with pytest.raises(ValueError, match="too narrow"):
            preprocess(image, config)
    else:
        np.testing.assert_array_equal(preprocess(image, config)[0], expected)


def test_every_way_to_pass_an_image_gives_the_same(tmp_path):
    image, config = noise(90, 70), config_of()
    path = tmp_path / "noise.png"
    path.write_bytes(encoded(image))
    expected = preprocess(image, config)
    for same in [path, str(path), path.read_bytes(), np.asarray(image), [image], (path,), np.asarray(image)[None]]:
        np.testing.assert_array_equal(preprocess(same, config), expected)
    np.testing.assert_array_equal(preprocess([path, image], config), np.concatenate([expected, expected]))
    assert expected.dtype == np.float32


def test_the_callers_image_is_left_as_it_was():
    image = noise(64, 64, "P index")
    preprocess(image, config_of())
    assert image.mode == "P"
    assert image.info["transparency"] == 3


def test_unnormalize_undoes_normalize():
    pixels = np.arange(256, dtype=np.uint8).repeat(3).reshape(16, 16, 3)
    for config in [config_of(), PreprocessConfig(
        size=(16, 16), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), interpolation="bicubic", resize_mode="squash"
    )]:  # fmt: skip
        np.testing.assert_array_equal(unnormalize(normalize(pixels, config), config), pixels)


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("size", [(160, 240), (251, 130), (96, 96)])
def test_crop_box_leads_back_to_the_original(resize_mode, size):
    """A disc drawn on the original is found, in the input, where the box says it is."""
    config = config_of((64, 64), "bilinear", resize_mode)
    x, y = size[0] * 0.45, size[1] * 0.6
    image = Image.new("RGB", size, "black")
    ImageDraw.Draw(image).ellipse((x - 8, y - 8, x + 8, y + 8), fill="white")
    weights = unnormalize(preprocess(image, config), config)[0, ..., 0].astype(float)
    found_x, found_y = ((weights.sum(axis) * (np.arange(64) + 0.5) / 64).sum() / weights.sum() for axis in (0, 1))
    left, top, right, bottom = crop_box(size, config)
    pixel = max(right - left, bottom - top) / 64
    assert math.hypot(left + found_x * (right - left) - x, top + found_y * (bottom - top) - y) < pixel


def test_crop_box_of_known_sizes():
    assert crop_box((400, 300), config_of((30, 30))) == (50.0, 0.0, 350.0, 300.0)
    assert crop_box((400, 300), config_of((30, 30), resize_mode="squash")) == (0.0, 0.0, 400.0, 300.0)
    assert crop_box((400, 200), config_of((40, 40), resize_mode="longest")) == (0.0, -100.0, 400.0, 300.0)


@pytest.mark.parametrize("make", [lambda g: Image.fromarray(g), lambda g: encoded(Image.fromarray(g))])
def test_sixteen_bits_keep_their_greys(make):
    grey = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    pixels = unnormalize(preprocess(make(grey), config_of()), config_of())[0]
    expected = np.rint(grey.astype(np.float64) * 255 / 65535)
    np.testing.assert_array_equal(pixels, np.repeat(expected[..., None], 3, -1))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_thirty_two_bits_are_refused(dtype):
    with pytest.raises(ValueError, match=r"image 0: mode . has 32 bits a pixel and no agreed white"):
        preprocess(Image.fromarray(np.ones((8, 8), dtype)), config_of())


def test_exif_orientation_is_announced_and_can_be_applied(tmp_path, recwarn):
    image, exif = noise(90, 60), Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "phone.png"
    path.write_bytes(encoded(image, exif=exif))
    config = config_of()
    upright = preprocess(image.transpose(Image.Transpose.ROTATE_270), config)
    np.testing.assert_array_equal(preprocess(path, config, apply_exif=True), upright)
    np.testing.assert_array_equal(preprocess(path, config, apply_exif=False), preprocess(image, config))
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"1 of 2 images, first .*phone\.png, carries an EXIF orientation"):
        np.testing.assert_array_equal(preprocess([image, path], config)[1:], preprocess(image, config))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow says so itself
def test_damaged_exif_does_not_stop_an_image():
    image = noise(64, 64)
    data = encoded(image, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff garbage", quality=100)
    assert preprocess(data, config_of()).shape == (1, 64, 64, 3)


BROKEN = {
    "empty": (b"", "no image that Pillow can read, or it is empty"),
    "text": (b"these are no pixels", "no image that Pillow can read"),
    "truncated JPEG": (encoded(noise(90, 90), "JPEG")[:1500], "truncated"),
    "truncated PNG": (encoded(noise(90, 90))[:1500], "truncated|broken|decoding"),
    "header only": (encoded(noise(90, 90))[:30], "damaged.png: "),
}


@pytest.mark.parametrize(("data", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named(tmp_path, data, message):
    path = tmp_path / "damaged.png"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=message) as raised:
        preprocess([noise(64, 64), path], config_of())
    assert "damaged.png: " in str(raised.value)
    with pytest.raises(ValueError, match="image 0: "):
        preprocess(data, config_of())


@pytest.mark.usefixtures("unchecked")
def test_other_bad_images_get_a_sentence(tmp_path, monkeypatch):
    config = config_of()
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png: there is no such file"):
        preprocess(tmp_path / "nowhere.png", config)
    with pytest.raises(ValueError, match=str(tmp_path)):
        preprocess(tmp_path, config)
    with pytest.raises(ValueError, match="images is empty"):
        preprocess([], config)
    with pytest.raises(ValueError, match="image 1: expected a Pillow image, a path, bytes or a uint8 array; got int"):
        preprocess([noise(8, 8), 3], config)
    with pytest.raises(ValueError, match="an image, a path or a list of them; got int"):
        preprocess(3, config)
    with pytest.raises(ValueError, match="image 0: the image is empty, 0 x 5 pixels"):
        preprocess(Image.new("RGB", (0, 5)), config)
    with pytest.raises(ValueError, match="too narrow to resize"):
        preprocess(Image.new("L", (1, 60_000)), config_of((336, 336)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"image 0: .* more than Pillow's limit of 1000 .*MAX_IMAGE_PIXELS"):
        preprocess(encoded(noise(90, 70)), config)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.zeros((3, 20, 30), np.uint8), r"channels last; got shape \(3, 20, 30\)"),
        (np.zeros((20, 30, 2), np.uint8), "channels last"),
        (np.zeros(20, np.uint8), "channels last"),
        (np.zeros((20, 30, 3), np.float32), "must be uint8, 0 to 255; got float32"),
        (np.zeros((20, 30, 3), bool), "must be uint8"),
    ],
)  # fmt: skip
def test_arrays_that_are_no_pixels(pixels, message):
    with pytest.raises(ValueError, match=message):
        preprocess(pixels, config_of())


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((2, 3, 32, 48), np.float32, r"channels first. Use images.transpose\(0, 2, 3, 1\)"),
        ((32, 48, 3), np.float32, r"Add a batch axis: images\[None\]"),
        ((3,), np.float32, r"must be \[batch, 32, 48, 3\]; got shape \(3,\)"),
        ((2, 48, 32, 3), np.float32, r"must be \[batch, 32, 48, 3\]; got shape \(2, 48, 32, 3\)"),
        ((2, 32, 48, 4), np.float32, "clip.preprocess"),
        ((2, 32, 48, 3), np.uint8, "must be normalised floats; got uint8"),
        ((2, 32, 48, 3), np.int32, "must be normalised floats; got int32"),
    ],
)  # fmt: skip
def test_check_images_says_how_to_put_it_right(shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        check_images(np.zeros(shape, dtype), (32, 48))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda x: check_images(x, (32, 48)), jax.ShapeDtypeStruct(shape, dtype))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_check_images_accepts_floats(dtype):
    check_images(jnp.zeros((0, 32, 48, 3), dtype), (32, 48))


def test_check_values_finds_nan_and_pixels():
    images = normalize(np.full((4, 8, 8, 3), 255, np.uint8), config_of())
    check_values(images)
    with pytest.raises(ValueError, match="got values up to 255"):
        check_values(np.full((1, 8, 8, 3), 255, np.float32))
    images[2, 1, 1, 0] = np.nan
    with pytest.raises(ValueError, match=r"image 2 holds NaN or infinity \(1 image in all\)"):
        check_values(images)
